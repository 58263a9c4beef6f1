"""Stage functions for the tests of the pipeline: small, deterministic, each with one way to behave."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lmpipe.base.canonical import digest_of_file
from lmpipe.base.config import Config
from lmpipe.base.errors import SourceError
from lmpipe.pipeline.stage import Source, Stage, Work


class Inner(Config):
    min_chars: int = 50


class Toy(Config):
    """The config of every toy stage."""

    text: str = ""
    parts: int = 1
    thresholds: Inner = Inner()
    path: str = ""


def stage(
    name: str,
    function: str = "write",
    *,
    version: int = 1,
    inputs: Mapping[str, Stage] | None = None,
    sources: Callable[[], list[Source]] | None = None,
    cost_hint: Mapping[str, object] | None = None,
    preload: tuple[str, ...] = (),
    **config: object,
) -> Stage:
    """A stage whose function stands in this file."""
    run = f"toy_stages:{function}"
    made = Toy.model_validate(config)
    return Stage(name, version, made, run, {} if inputs is None else inputs, sources, cost_hint or {}, preload)


def sources_of(folder: Path) -> Callable[[], list[Source]]:
    """The files of a folder as raw files, stamped by their modification time."""

    def listed() -> list[Source]:
        return [
            Source(p.name, str(p), p.stat().st_size, str(p.stat().st_mtime_ns), lambda p=p: digest_of_file(p))
            for p in sorted(folder.iterdir())
        ]

    return listed


def write(work: Work) -> None:
    """`parts` files from the text, the inputs and the raw files; a fact; an observation with a clock in it."""
    heard = "".join(f"{role}={(folder / 'part-0.txt').read_text()}" for role, folder in sorted(work.inputs.items()))
    raw = "".join(Path(source.url).read_text() for source in work.sources)
    for part in range(work.config.parts):
        (work.output / f"part-{part}.txt").write_text(f"{work.config.text}|{heard}|{raw}|{part}\n")
        work.progress.update(part + 1, work.config.parts, "parts", loss=0.5)
    work.facts["parts"] = work.config.parts
    (work.observed / "clock.json").write_text(json.dumps({"at": time.time(), "process": os.getpid()}))


def lower(work: Work) -> None:
    """Lower-case text: different inputs may give equal bytes."""
    (work.output / "part-0.txt").write_text(work.config.text.lower())


def count(work: Work) -> None:
    """Leave one line in `path` per execution, so that a test can count them."""
    with Path(work.config.path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    write(work)


def resumable(work: Work) -> None:
    """Write `parts` shards into scratch, keeping what an earlier attempt left; then move them to the output."""
    for part in range(work.config.parts):
        shard = work.scratch / f"part-{part}.txt"
        if not shard.exists():
            log = Path(work.config.path)
            with log.open("a") as file:
                file.write(f"{part}\n")
            temporary = shard.with_suffix(".tmp")
            temporary.write_text(f"{work.config.text} {part}\n")
            temporary.rename(shard)
            wait_for(log.with_suffix(f".go-{part}"))
    for part in range(work.config.parts):
        (work.scratch / f"part-{part}.txt").rename(work.output / f"part-{part}.txt")


def listening(work: Work) -> None:
    """Say that it runs, then wait to be asked to stop, and save."""
    state = work.scratch / "state"
    if state.exists():
        (work.output / "part-0.txt").write_text("done")
        return
    work.stopping()
    Path(work.config.path).touch()
    while not work.stopping():
        time.sleep(0.02)
    state.write_text("saved")


def deaf(work: Work) -> None:
    """Say that it runs and never look whether it should stop; leaves a grandchild process that would live on."""
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(work.config.path).write_text(f"{os.getpid()} {grandchild.pid}")
    time.sleep(600)


def gated(work: Work) -> None:
    """Say that it runs, then go on when the test says so."""
    count(work)
    wait_for(Path(work.config.path).with_suffix(".go"))


def usurped(work: Work) -> None:
    """The first time, lose the lease to a process that has died since: as if this one had been paused for long."""
    again = Path(work.config.path).exists()
    count(work)
    if not again:
        for lease in Path(work.config.text).glob("*.json"):
            held = json.loads(lease.read_text())
            lease.write_text(json.dumps({**held, "token": "another", "owner": {**held["owner"], "started": 1.0}}))


def orphaned(work: Work) -> None:
    """Kill the process that supervises this one."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    while not path.exists():
        time.sleep(0.01)


def refuse(work: Work) -> None:
    raise SourceError("the corpus is empty", where="books/*.txt", expected="some text", fix="add a file")


def stumble(work: Work) -> None:
    raise ValueError("an odd value")


def die(work: Work) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def segfault(work: Work) -> None:
    ctypes.string_at(0)


def hungry(work: Work) -> None:
    raise MemoryError


def chatter(work: Work) -> None:
    print("a stray print")
    print("a warning", file=sys.stderr)
    write(work)


def link(work: Work) -> None:
    (work.output / "link").symlink_to("/etc/hostname")


def odd_facts(work: Work) -> None:
    work.facts["ratio"] = float("nan")
    write(work)


def allocate(work: Work) -> None:
    """Touch 120 MB."""
    block = bytearray(120_000_000)
    block[::4096] = b"x" * len(block[::4096])
    write(work)


def fill(work: Work) -> None:
    """Write `parts` megabytes."""
    for part in range(work.config.parts):
        (work.output / f"part-{part}.bin").write_bytes(bytes([part % 251]) * 1_000_000)


def threads(work: Work) -> None:
    (work.observed / "environment.json").write_text(json.dumps({"omp": os.environ.get("OMP_NUM_THREADS")}))
    write(work)


def family(work: Work) -> None:
    """Tell which process this one was forked from, and which modules it began with."""
    (work.observed / "family.json").write_text(json.dumps({"parent": os.getppid(), "began_with": sorted(sys.modules)}))
    write(work)


def rewrite_source(work: Work) -> None:
    """Change a raw file while 'reading' it."""
    path = Path(work.sources[0].url)
    path.write_text("something else, longer")
    write(work)
