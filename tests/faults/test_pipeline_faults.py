"""Kills, full disks, two runs at once: afterwards the same command finishes and every digest is the undisturbed run's."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

TOYS = Path(__file__).parents[1] / "pipeline"
sys.path.insert(0, str(TOYS))

import toy_stages as toys  # noqa: E402
from toy_listener import Heard  # noqa: E402

from lmpipe.base.errors import StoreError  # noqa: E402
from lmpipe.base.runtime import Runtime  # noqa: E402
from lmpipe.pipeline import gc  # noqa: E402
from lmpipe.pipeline.runner import RunResult, run  # noqa: E402
from lmpipe.pipeline.store import open_store  # noqa: E402
from lmpipe.pipeline.verified import scan  # noqa: E402

DRIVER = textwrap.dedent(
    """
    import json, os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import toy_stages as toys
    from lmpipe.base.runtime import Runtime
    from lmpipe.pipeline.runner import run

    def attempt(store, calls):
        # Run; die at the n-th call that makes something durable, before it happens (0: never). Gives the number of such calls.
        made = [0]

        def deadly(call):
            def wrapped(*arguments, **options):
                made[0] += 1
                if made[0] == calls:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **options)
            return wrapped

        owners = (os, "fsync"), (os, "link"), (Path, "rename"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir")
        for owner, name in owners:
            setattr(owner, name, deadly(getattr(owner, name)))
        stages = [toys.stage("a", "count", text="x", parts=2, path=sys.argv[2])]
        if sys.argv[4] == "2":
            stages.append(toys.stage("b", inputs={"in": stages[0]}, parts=2))
        run(stages, Runtime(store=store, isolate=sys.argv[3] == "isolate", threads=1, workers=1))
        return made[0]

    for store, calls in json.loads(sys.stdin.read()):
        reader, writer = os.pipe()
        child = os.fork()  # a process of its own for every attempt, without paying for the imports again
        if child == 0:
            os.write(writer, str(attempt(store, calls)).encode())
            os._exit(0)
        os.close(writer)
        made = os.read(reader, 100)
        os.close(reader)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(made or 0))
    """
)


def drive(attempts: list[tuple[Path, int]], log: Path, mode: str = "here", stages: int = 2) -> list[tuple[int, int]]:
    """Attempts at a run, one after another: (store, the durable step to die at or 0) -> (exit status, durable steps made)."""
    command = [sys.executable, "-c", DRIVER, str(TOYS), str(log), mode, str(stages)]
    wanted = json.dumps([(str(store), calls) for store, calls in attempts])
    done = subprocess.run(command, input=wanted, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [(int(status), int(made)) for status, made in (line.split() for line in done.stdout.splitlines())]


def digests(store: Path) -> dict[str, str]:
    """Content digest by stage; every result must be whole."""
    opened = open_store(str(store))
    found = {}
    for name in opened.stages():
        (record,) = opened.records(name)
        assert not opened.damage(record, thorough=True)
        assert not record.contradictions()
        found[name] = record.content_digest
    return found


def leftovers(store: Path) -> list[str]:
    return [f"{name}/{p.name}" for name in (".tmp", ".scratch", ".leases") for p in sorted((store / name).glob("*"))]


def test_killed_at_every_durable_step_the_same_command_finishes_with_the_same_bytes(tmp_path: Path) -> None:
    """Every fsync, link, rename, replace, unlink and mkdir: within publishing, the record, leases, memories."""
    ((status, steps),) = drive([(tmp_path / "whole", 0)], tmp_path / "log", stages=1)
    assert status == 0
    assert steps > 20
    stores = [tmp_path / f"store-{step}" for step in range(1, steps + 1)]
    killed = drive([(store, step) for step, store in enumerate(stores, 1)], tmp_path / "log", stages=1)
    assert {status for status, _ in killed} == {-9}
    finished = drive([(store, 0) for store in stores], tmp_path / "log", stages=1)
    assert {status for status, _ in finished} == {0}
    expected = digests(tmp_path / "whole")
    assert [store.name for store in stores if digests(store) != expected] == []
    stray = {name for store in stores for name in leftovers(store) if not name.endswith(".tmp")}
    assert stray == set()  # half-made lease files may stay for gc; nothing else does


def test_killed_again_and_again_it_still_gets_there(tmp_path: Path) -> None:
    """Each attempt dies one durable step later than the one before; what is published stays."""
    drive([(tmp_path / "whole", 0)], tmp_path / "log")
    answers = drive([(tmp_path / "store", step) for step in range(5, 60)], tmp_path / "log")
    assert answers[0][0] == -9
    assert answers[-1][0] == 0
    assert digests(tmp_path / "store") == digests(tmp_path / "whole")


@pytest.mark.parametrize("part", [0, 1, 2])
def test_killed_inside_a_stage_it_goes_on_from_the_finished_shards(tmp_path: Path, part: int) -> None:
    """The runner is killed, and its stage with it, after the stage has written shard `part`; no shard is made twice."""
    log, store = tmp_path / "log", tmp_path / "store"
    command = [sys.executable, "-c", RESUMABLE, str(TOYS), str(store), str(log)]
    for done in range(part):
        (tmp_path / f"log.go-{done}").touch()
    first = subprocess.Popen(command)
    while not log.exists() or log.read_text().split() != [str(n) for n in range(part + 1)]:
        assert first.poll() is None
    shard = tmp_path / "store" / ".scratch"
    while not list(shard.glob(f"*/part-{part}.txt")):
        assert first.poll() is None
    first.kill()
    first.wait()
    for number in range(3):
        (tmp_path / f"log.go-{number}").touch()
    subprocess.run(command, check=True, timeout=60)
    assert log.read_text().split() == ["0", "1", "2"]
    whole = run(
        [toys.stage("a", "resumable", text="x", parts=3, path=str(log))], Runtime(store=str(tmp_path / "other"), isolate=False)
    )
    assert digests(store) == {"a": whole["a"].record.content_digest}
    assert leftovers(store) == []


RESUMABLE = textwrap.dedent(
    """
    import sys
    sys.path.insert(0, sys.argv[1])
    import toy_stages as toys
    from lmpipe.base.runtime import Runtime
    from lmpipe.pipeline.runner import run
    run([toys.stage("a", "resumable", text="x", parts=3, path=sys.argv[3])], Runtime(store=sys.argv[2], threads=1, workers=1))
    """
)


@pytest.mark.parametrize("mode", ["here", "isolate"])
def test_several_runs_at_once_compute_every_stage_once_and_agree(tmp_path: Path, mode: str) -> None:
    log, store = tmp_path / "log", tmp_path / "store"
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: drive([(store, 0)], log, mode), range(4)))
    assert [status for ((status, _),) in done] == [0, 0, 0, 0]
    assert len(log.read_text().split()) == 1
    assert leftovers(store) == []
    assert len(digests(store)) == 2


def test_a_second_run_waits_for_the_first_and_takes_its_result(tmp_path: Path) -> None:
    runtime = Runtime(store=str(tmp_path / "store"), isolate=False)
    log = tmp_path / "log"
    stage = toys.stage("a", "gated", path=str(log))
    first = subprocess.Popen([sys.executable, "-c", GATED, str(TOYS), runtime.store, str(log)])

    class OpensTheGate(Heard):
        def handle(self, event: object) -> None:
            super().handle(event)  # type: ignore[arg-type]
            if self.notes:
                log.with_suffix(".go").touch()

    toys.wait_for(log)
    heard = OpensTheGate()
    run([stage], runtime, heard)
    assert first.wait(timeout=30) == 0
    assert heard.notes == [f"waiting for stage a, held by process {first.pid} on {os.uname().nodename}"]
    assert heard.hits == ["a"]
    assert len(log.read_text().split()) == 1


def test_a_killed_holder_is_succeeded_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = subprocess.Popen([sys.executable, "-c", GATED, str(TOYS), str(tmp_path / "store"), str(log)])
    toys.wait_for(log)
    first.kill()
    first.wait()
    log.with_suffix(".go").touch()
    heard = Heard()
    run([toys.stage("a", "gated", path=str(log))], Runtime(store=str(tmp_path / "store"), isolate=False), heard)
    assert heard.computed == ["a"]
    assert leftovers(tmp_path / "store") == []


GATED = textwrap.dedent(
    """
    import sys
    sys.path.insert(0, sys.argv[1])
    import toy_stages as toys
    from lmpipe.base.runtime import Runtime
    from lmpipe.pipeline.runner import run
    run([toys.stage("a", "gated", path=sys.argv[3])], Runtime(store=sys.argv[2], threads=1, workers=1))
    """
)


def test_a_leftover_of_a_dead_attempt_is_never_taken_for_a_result(tmp_path: Path) -> None:
    runtime = Runtime(store=str(tmp_path / "store"), isolate=False)
    first = run([toys.stage("a")], runtime)["a"]
    store = open_store(runtime.store)
    shutil.copytree(first.path, tmp_path / "store/.tmp" / f"a-{first.record.fingerprint[:16]}.deadbeef")
    shutil.rmtree(first.path)
    heard = Heard()
    run([toys.stage("a")], runtime, heard)
    assert heard.computed == ["a"]
    assert leftovers(tmp_path / "store") == []
    assert gc.collect(store) == []


# -- full disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], capture_output=True, check=False)
    if mount.returncode != 0:
        pytest.skip("mounting a small disk is not permitted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def free(disk: Path, leave_bytes: int) -> Path:
    """Fill the disk but for `leave_bytes`; removing the file that is returned frees it."""
    ballast = disk / "ballast"
    usage = shutil.disk_usage(disk)
    ballast.write_bytes(b"x" * max(0, usage.free - leave_bytes))
    return ballast


@pytest.mark.parametrize("isolate", [False, True])
def test_a_full_disk_ends_in_one_message_and_the_same_command_goes_on(small_disk: Path, isolate: bool) -> None:
    runtime = Runtime(store=str(small_disk / "store"), isolate=isolate, threads=1, workers=1)
    stages = [toys.stage("a"), toys.stage("b", "fill", parts=3)]
    ballast = free(small_disk, 2_000_000)
    with pytest.raises(StoreError, match="no space left") as caught:
        run(stages, runtime)
    assert "lmpipe gc" in caught.value.fix
    assert digests(small_disk / "store").keys() == {"a"}
    assert not list((small_disk / "store/.tmp").iterdir())
    ballast.unlink()
    heard = Heard()
    result = run(stages, runtime, heard)
    assert (heard.hits, heard.computed) == (["a"], ["b"])
    assert len(scan(result["b"].path)) == 4


@pytest.mark.parametrize("leave_pages", range(12))
def test_wherever_the_disk_fills_up_nothing_is_half_published(small_disk: Path, leave_pages: int) -> None:
    """From no page at all to enough: leases, the output, the record, the memory of what was verified."""
    runtime = Runtime(store=str(small_disk / "store"), isolate=False)
    ballast = free(small_disk, leave_pages * 4096)
    result: RunResult | None = None
    try:
        result = run([toys.stage("a")], runtime)
    except StoreError as error:
        assert "no space left" in error.what  # noqa: PT017 - it may also fit
    published = digests(small_disk / "store")
    assert result is None or published.keys() == {"a"}
    ballast.unlink()
    assert run([toys.stage("a")], runtime)["a"].record.content_digest == digests(small_disk / "store")["a"]
    assert leftovers(small_disk / "store") == []


def test_a_limit_on_file_sizes_is_no_silent_truncation(tmp_path: Path) -> None:
    """The other way a write can fall short (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    runtime = Runtime(store=str(tmp_path / "store"), isolate=False)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        with pytest.raises(Exception, match="File too large"):
            run([toys.stage("b", "fill", parts=1)], runtime)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert digests(tmp_path / "store") == {}
    run([toys.stage("b", "fill", parts=1)], runtime)
    assert digests(tmp_path / "store").keys() == {"b"}
