"""Stages in processes of their own: how they end, and what is said about it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import toy_stages as toys
from toy_listener import Heard

from lmpipe.base.errors import SourceError, StageError
from lmpipe.base.runtime import Runtime
from lmpipe.pipeline import events
from lmpipe.pipeline.execute import StageCrash
from lmpipe.pipeline.interruption import Interrupted
from lmpipe.pipeline.owner import start_time
from lmpipe.pipeline.runner import RunResult, run
from lmpipe.pipeline.store import open_store
from lmpipe.pipeline.supervisors import Supervisors


@pytest.fixture(params=["apart", "here"])
def anywhere(request: pytest.FixtureRequest) -> Runtime:
    runtime: Runtime = request.getfixturevalue(request.param)
    return runtime


def test_errors_for_people_travel_whole(anywhere: Runtime) -> None:
    heard = Heard()
    with pytest.raises(SourceError) as caught:
        run([toys.stage("a", "refuse")], anywhere, heard)
    assert caught.value.to_json() == {
        "error": "SourceError",
        "what": "the corpus is empty",
        "where": "books/*.txt",
        "expected": "some text",
        "fix": "add a file",
    }
    assert isinstance(heard.events[-1], events.StageFailed)


def test_an_unexpected_exception_keeps_its_traceback_in_a_file(anywhere: Runtime) -> None:
    with pytest.raises(StageCrash, match="ValueError: an odd value") as caught:
        run([toys.stage("a", "stumble")], anywhere)
    assert 'raise ValueError("an odd value")' in caught.value.traceback
    assert "toy_stages.py" in caught.value.where
    kept = Path(anywhere.store) / ".failed" / "a.txt"
    assert str(kept) in caught.value.fix
    assert "Traceback" in kept.read_text()
    assert "Traceback" not in str(caught.value)


def test_a_lack_of_memory_is_told_with_what_to_lower(anywhere: Runtime) -> None:
    stage = toys.stage("a", "hungry", cost_hint={"lower": "train.batch_tokens"})
    with pytest.raises(StageError, match="lack of memory") as caught:
        run([stage], anywhere)
    assert caught.value.fix == "lower train.batch_tokens"
    assert "MB" in caught.value.where


def test_a_killed_stage_is_told_as_such(apart: Runtime) -> None:
    with pytest.raises(StageError, match=r"killed \(signal 9\), most likely .* memory") as caught:
        run([toys.stage("a", "die")], apart)
    assert "MB may be used here" in caught.value.where


def test_a_crash_in_native_code_is_told_with_its_place(apart: Runtime) -> None:
    with pytest.raises(StageCrash, match="died of SIGSEGV") as caught:
        run([toys.stage("a", "segfault")], apart)
    assert "toy_stages.py" in caught.value.traceback


def test_printed_lines_do_not_mix_with_what_the_stage_reports(apart: Runtime) -> None:
    heard = Heard()
    run([toys.stage("a", "chatter", parts=3)], apart, heard)
    printed = [event.text for event in heard.events if isinstance(event, events.StageOutput)]
    assert sorted(printed) == ["a stray print", "a warning"]
    last = [event for event in heard.events if isinstance(event, events.StageProgress)][-1]
    assert last == events.StageProgress("a", 3, 3, "parts", {"loss": 0.5})


def test_threads_are_as_the_runtime_says(apart: Runtime) -> None:
    result = run([toys.stage("a", "threads")], dataclasses.replace(apart, threads=3))["a"]
    assert (result.path / "observed/environment.json").read_text() == '{"omp": "3"}'


def test_peak_memory_is_the_stages_own(apart: Runtime) -> None:
    block = bytearray(200_000_000)  # of this process: it must not show in the stages' figures
    block[::4096] = b"x" * len(block[::4096])
    small, big = run([toys.stage("a"), toys.stage("b", "allocate")], apart).stages
    assert small.record.peak_memory_bytes < 100e6
    assert 120e6 < big.record.peak_memory_bytes < 220e6
    assert len(block)


def when_there(path: Path, action: object) -> threading.Thread:
    def wait() -> None:
        toys.wait_for(path)
        action()  # type: ignore[operator]

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def ask(signum: int) -> object:
    return lambda: os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_stage_that_listens_saves_its_work_and_goes_on_from_it(anywhere: Runtime, tmp_path: Path, signum: int) -> None:
    stage = toys.stage("a", "listening", path=str(tmp_path / "ready"))
    thread = when_there(tmp_path / "ready", ask(signum))
    with pytest.raises(Interrupted) as caught:
        run([stage], anywhere)
    thread.join()
    assert caught.value.exit_code == 128 + signum
    heard = Heard()
    result = run([stage], anywhere, heard)
    assert (result["a"].path / "part-0.txt").read_text() == "done"
    assert [e.resumes for e in heard.events if isinstance(e, events.StageStarted)] == [True]
    assert not open_store(anywhere.store).scratch_of("a", result["a"].record.fingerprint).exists()


def test_a_stage_that_does_not_listen_ends_at_once_and_so_does_what_it_started(apart: Runtime, tmp_path: Path) -> None:
    thread = when_there(tmp_path / "ready", ask(signal.SIGINT))
    started = time.monotonic()
    with pytest.raises(Interrupted):
        run([toys.stage("a", "deaf", path=str(tmp_path / "ready"))], apart)
    thread.join()
    assert time.monotonic() - started < 10
    assert [start_time(int(pid)) for pid in (tmp_path / "ready").read_text().split()] == [None, None]


def test_the_signal_handlers_of_the_caller_come_back(here: Runtime) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run([toys.stage("a")], here)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_run_outside_the_main_thread_works(apart: Runtime) -> None:
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(run([toys.stage("a")], apart)))
    thread.start()
    thread.join()
    assert len(results) == 1


def test_a_stage_ends_when_its_runner_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import toy_stages as toys; from lmpipe.base.runtime import Runtime;"
        "from lmpipe.pipeline.runner import run; run([toys.stage('a', 'deaf', path=sys.argv[3])], Runtime(store=sys.argv[2]))"
    )
    ready = tmp_path / "ready"
    runner = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(toys.__file__).parent), str(tmp_path / "store"), str(ready)]
    )
    toys.wait_for(ready)
    while len(ready.read_text().split()) < 2:
        time.sleep(0.01)
    runner.kill()
    runner.wait()
    deadline = time.monotonic() + 10
    while any(start_time(int(pid)) for pid in ready.read_text().split()):
        assert time.monotonic() < deadline, "a process of the stage outlived its runner"
        time.sleep(0.02)


def test_a_supervisor_that_is_killed_itself_is_told_and_leaves_no_process(apart: Runtime) -> None:
    with pytest.raises(StageError, match="killed"):
        run([toys.stage("a", "orphaned")], apart)


def family(result: RunResult, name: str) -> tuple[int, set[str]]:
    told = json.loads((result[name].path / "observed/family.json").read_text())
    return told["parent"], set(told["began_with"])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is loaded before a fork")
def test_stages_are_forked_from_one_process_that_has_loaded_what_they_share(apart: Runtime) -> None:
    slow = "xml.dom.minidom"  # stands for torch: nothing else here imports it
    stages = [toys.stage("a", "family"), toys.stage("b", "family", preload=(slow,)), toys.stage("c", "family")]
    result = run([*stages, toys.stage("d", "family", preload=(slow,))], apart)
    parents = {name: family(result, name)[0] for name in "abcd"}
    assert parents["a"] == parents["c"] != parents["b"] == parents["d"]
    assert os.getpid() not in parents.values()
    assert [slow in family(result, name)[1] for name in "abcd"] == [False, True, False, True]
    assert all("pyarrow" in family(result, name)[1] for name in "abcd")
    assert [start_time(parent) for parent in parents.values()] == [None] * 4, "they end with the run"


def test_what_cannot_be_loaded_for_all_is_left_to_the_stage_that_needs_it(apart: Runtime) -> None:
    assert run([toys.stage("a", preload=("no_such_module",))], apart)["a"].status == "computed"


def test_a_supervisor_that_ended_is_replaced() -> None:
    with Supervisors() as supervisors:
        first = supervisors.have((), Runtime())
        assert supervisors.have((), Runtime()) is first
        first.kill()
        first.wait()
        assert supervisors.have((), Runtime()).poll() is None


def test_a_holder_that_lost_its_lease_publishes_nothing_and_looks_again(here: Runtime, tmp_path: Path) -> None:
    log = tmp_path / "log"
    heard = Heard()
    run([toys.stage("a", "usurped", path=str(log), text=f"{here.store}/.leases")], here, heard)
    assert len(log.read_text().split()) == 2
    assert heard.computed == ["a"]
    assert any("took this stage over" in note for note in heard.notes)


def test_many_figures_are_thinned_and_the_last_one_is_told() -> None:
    heard = Heard()
    reporter = events.StageReporter("a", heard)
    for step in range(10_000):
        reporter.update(step, 10_000, "steps", loss=1.0)
    reporter.flush()
    assert len(heard.events) < 100
    assert heard.events[-1] == events.StageProgress("a", 9999, 10_000, "steps", {"loss": 1.0})


def test_a_config_class_that_cannot_be_imported_is_refused(apart: Runtime) -> None:
    class Local(toys.Toy):
        pass

    with pytest.raises(StageError, match="cannot be imported"):
        run([toys.Stage("a", 1, Local(), "toy_stages:write")], apart)
