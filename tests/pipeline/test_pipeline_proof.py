"""Run records, verify, lineage, gc: what a store can say about itself."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from pathlib import Path

import pytest
import toy_stages as toys
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.errors import RecipeError, SourceError, StoreError
from lmpipe.base.runtime import Runtime
from lmpipe.pipeline import events, gc
from lmpipe.pipeline.lineage import lineage
from lmpipe.pipeline.record import RECORD
from lmpipe.pipeline.runner import RunResult, run
from lmpipe.pipeline.runs import RunLog, RunRecord, find_run, list_runs
from lmpipe.pipeline.store import Store, open_store
from lmpipe.pipeline.verify import recompute, verify_run


def chain(text: str = "x", folder: Path | None = None) -> list[toys.Stage]:
    a = toys.stage("a", text=text, sources=toys.sources_of(folder) if folder else None)
    b = toys.stage("b", inputs={"in": a}, parts=2)
    return [a, b, toys.stage("c", inputs={"left": a, "right": b})]


def logged(here: Runtime, text: str = "x", name: str = "demo") -> tuple[Store, RunResult, RunRecord]:
    store = open_store(here.store)
    log = RunLog(store, name, {"name": name, "text": text}, extra={"recipe_path": "demo.yaml"})
    result = run(chain(text), here, log)
    return store, result, log.close(verdict={"verdict": "GO"}, extra={"bundle": "there"})


# -- run records


def test_a_run_is_kept_with_what_it_used_and_how_it_ended(here: Runtime) -> None:
    store, result, record = logged(here)
    assert find_run(store, "demo") == find_run(store, record.id) == find_run(store, record.id[:18]) == record
    assert [(s.name, s.fingerprint) for s in record.stages] == [(s.name, s.record.fingerprint) for s in result.stages]
    assert (record.status, record.verdict_word) == ("finished", "GO")
    assert record.extra == {"recipe_path": "demo.yaml", "bundle": "there"}
    assert record.recipe == {"name": "demo", "text": "x"}
    assert record.planned == ["a", "b", "c"]
    json.dumps(record.to_json())


def test_the_latest_of_a_name_is_found_and_the_list_is_newest_first(here: Runtime) -> None:
    store, _, first = logged(here)
    _, _, second = logged(here)
    _, _, other = logged(here, name="other")
    assert find_run(store, "demo").id == second.id
    assert [run.id for run in list_runs(store)] == [other.id, second.id, first.id]
    assert [run.id for run in list_runs(store, "other")] == [other.id]
    assert [stage.status for stage in second.stages] == ["hit"] * 3


def test_a_failed_run_says_why(here: Runtime) -> None:
    store = open_store(here.store)
    log = RunLog(store, "demo", {})
    with pytest.raises(SourceError):
        run([toys.stage("b", "refuse", inputs={"in": toys.stage("a")})], here, log)
    record = find_run(store, "demo")
    assert record.status == "failed"
    assert record.failure is not None
    assert record.failure.error["what"] == "the corpus is empty"
    assert [stage.name for stage in record.stages] == ["a"]
    assert log.close().status == "failed"


def test_a_run_that_is_closed_before_its_last_stage_is_not_finished(here: Runtime) -> None:
    store = open_store(here.store)
    early = RunLog(store, "early", {})
    assert early.close().status == "interrupted"
    log = RunLog(store, "half", {})
    log.handle(events.RunStarted(("a", "b"), store.url))
    log.handle(events.StageFinished("a", run([toys.stage("a")], here)["a"].record))
    assert log.close().status == "interrupted"
    assert find_run(store, "half").status == "interrupted"


def test_a_run_whose_process_is_gone_counts_as_interrupted(here: Runtime) -> None:
    store, _, record = logged(here)
    path = next((Path(here.store) / "runs" / "demo").iterdir())
    value = {**record.to_json(), "status": "running"}
    path.write_text(json.dumps(value))
    assert find_run(store, "demo").status == "running"
    path.write_text(json.dumps({**value, "owner": {**value["owner"], "started": 1.0}}))
    assert find_run(store, "demo").status == "interrupted"
    path.write_text("{ damaged")
    assert list_runs(store) == []


def test_an_unknown_run_is_told_with_what_there_is(here: Runtime, tmp_path: Path) -> None:
    store, _, record = logged(here)
    with pytest.raises(RecipeError, match="no run 'dmeo'") as caught:
        find_run(store, "dmeo")
    assert "did you mean 'demo'" in caught.value.fix
    logged(here)
    with pytest.raises(RecipeError, match="beginning of 2 run ids"):
        find_run(store, record.id[:4])
    with pytest.raises(RecipeError, match="no run"):
        find_run(Store(tmp_path / "empty"), "x")


# -- verify


def test_an_untouched_run_verifies(here: Runtime) -> None:
    store, _, record = logged(here)
    result = verify_run(store, record)
    assert result.holds
    assert (result.stages, result.files) == (3, 4)
    assert result.to_json()["holds"] is True


def test_every_flipped_bit_of_a_run_is_found_and_named(here: Runtime) -> None:
    """Also where size and times are as they were: verify reads every byte."""
    store, result, record = logged(here)
    files = [p for stage in result.stages for p in stage.path.rglob("*") if p.is_file()]

    @settings(deadline=None, max_examples=60)
    @given(st.data())
    def flip(data: st.DataObject) -> None:
        file = data.draw(st.sampled_from(files))
        before, status = file.read_bytes(), file.stat()
        position = data.draw(st.integers(0, len(before) * 8 - 1))
        after = bytearray(before)
        after[position // 8] ^= 1 << position % 8
        file.write_bytes(after)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        try:
            problems = verify_run(store, record).problems
            stage = next(s.name for s in result.stages if s.path in file.parents)
            assert any(p.stage == stage and (file.name == RECORD or p.file.endswith(file.name)) for p in problems)
        finally:
            file.write_bytes(before)

    flip()
    assert verify_run(store, record).holds


def test_missing_and_added_files_are_found(here: Runtime) -> None:
    store, result, record = logged(here)
    (result["b"].path / "part-1.txt").unlink()
    (result["c"].path / "part-7.txt").write_text("stray")
    found = {(p.stage, p.file, p.what.split(" ", 1)[1]) for p in verify_run(store, record).problems}
    assert found == {("b", "part-1.txt", "is missing"), ("c", "part-7.txt", "is not in the record")}


def test_a_result_exchanged_for_another_sound_one_breaks_the_chain(here: Runtime) -> None:
    """Every file fits its record, yet the run did not use it."""
    store, first, record = logged(here, "x")
    second = run([toys.stage("a", text="y")], here)
    shutil.rmtree(first["a"].path)
    shutil.copytree(second["a"].path, first["a"].path)
    assert not verify_run(store, record).holds
    moved = record.model_copy(
        update={
            "stages": [
                s.model_copy(
                    update={
                        "fingerprint": second["a"].record.fingerprint,
                        "content_digest": second["a"].record.content_digest,
                    }
                )
                if s.name == "a"
                else s
                for s in record.stages
            ]
        }
    )
    assert {p.what for p in verify_run(store, moved).problems} == {
        "its input 'in' had other bytes than stage 'a' has now",
        "its input 'left' had other bytes than stage 'a' has now",
    }


def test_a_result_that_was_removed_is_told(here: Runtime) -> None:
    store, result, record = logged(here)
    shutil.rmtree(result["c"].path)
    assert [(p.stage, p.what) for p in verify_run(store, record).problems] == [("c", "its result is not in the store any more")]


def test_recomputing_gives_the_same_bytes_and_leaves_the_store_alone(here: Runtime) -> None:
    store, result, record = logged(here)
    before = {s.name: (s.path / RECORD).read_bytes() for s in result.stages}
    answers = recompute(store, record, chain(), ["all"], here)
    assert [(a.stage, a.equal) for a in answers] == [("a", True), ("b", True), ("c", True)]
    assert {s.name: (s.path / RECORD).read_bytes() for s in result.stages} == before
    assert not list((Path(here.store) / ".tmp").iterdir())


def test_a_stage_that_is_not_deterministic_is_caught_with_its_files(here: Runtime, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "unsteady.py").write_text(
        "import time\n"
        "def work(work):\n"
        "    (work.output / 'same.txt').write_text('same')\n"
        "    (work.output / 'clock.txt').write_text(str(time.time_ns()))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    stages = [toys.Stage("a", 1, toys.Toy(), "unsteady:work")]
    store = open_store(here.store)
    log = RunLog(store, "demo", {})
    run(stages, here, log)
    (answer,) = recompute(store, log.close(), stages, ["a"], here)
    assert not answer.equal
    assert answer.differing == ["clock.txt"]


def test_recomputing_another_recipe_or_an_unknown_stage_is_told(here: Runtime) -> None:
    store, _, record = logged(here)
    (answer,) = recompute(store, record, chain("y"), ["a"], here)
    assert (answer.equal, answer.changes) == (False, ["config.text: 'x' -> 'y'"])
    with pytest.raises(RecipeError, match="no stored stage 'z'"):
        recompute(store, record, chain(), ["z"], here)


# -- lineage


def test_a_file_is_traced_to_its_raw_files(here: Runtime, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(9):
        (folder / f"{number}.txt").write_text("raw")
    result = run(chain(folder=folder), here)
    store = open_store(here.store)
    traced = lineage(store, result["c"].path / "part-0.txt")
    text = traced.to_text().splitlines()
    assert text[0].startswith("part-0.txt  from c ")
    assert text[1].startswith("├── left: a ")
    assert text[2].startswith("│   ├── 0.txt  3 bytes  sha256 ")
    assert text[7] == "│   └── and 4 more raw files"
    assert text[8].startswith("└── right: b ")
    assert text[9].startswith("    └── in: a ")
    assert len(text) == 10 + 0
    value = traced.to_json()
    root = value["stages"][value["stage"]]
    assert root["inputs"]["right"] == result["b"].record.fingerprint
    assert len(value["stages"][result["a"].record.fingerprint]["sources"]) == 9
    json.dumps(value)


def test_a_copy_outside_the_store_is_traced_by_its_bytes(here: Runtime, tmp_path: Path) -> None:
    result = run(chain(), here)
    shutil.copytree(result["b"].path, tmp_path / "bundle", ignore=shutil.ignore_patterns(RECORD, "observed"))
    store = open_store(here.store)
    assert lineage(store, tmp_path / "bundle").origin.stage == "b"
    copy = tmp_path / "copy.txt"
    shutil.copy(result["b"].path / "part-1.txt", copy)
    assert (lineage(store, copy).origin.stage, lineage(store, copy).file) == ("b", "part-1.txt")
    copy.write_text("never seen")
    with pytest.raises(RecipeError, match="nothing in the store"):
        lineage(store, copy)
    with pytest.raises(RecipeError, match="no file or folder"):
        lineage(store, tmp_path / "absent")


def test_an_upstream_result_that_is_gone_is_still_named(here: Runtime) -> None:
    result = run(chain(), here)
    shutil.rmtree(result["a"].path)
    text = lineage(open_store(here.store), result["c"].path).to_text()
    assert "left: a" in text
    assert "(no longer in the store)" in text


# -- gc


def age(path: Path, days: float) -> None:
    then = time.time() - days * 86_400
    for entry in (path, *path.rglob("*")):
        os.utime(entry, (then, then))


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every result were older than an hour."""
    monkeypatch.setattr(gc, "YOUNG_SECONDS", -1.0)


@pytest.mark.usefixtures("old")
def test_results_that_no_kept_run_stands_on_can_go(here: Runtime) -> None:
    store, first, _ = logged(here, "x")
    _, second, _ = logged(here, "y")
    listed = gc.collect(store, keep=1)
    assert {item.path for item in listed} == {stage.path for stage in first.stages}
    assert all(item.bytes > 0 for item in listed)
    assert all(stage.path.exists() for stage in first.stages)  # nothing goes unless asked
    assert gc.collect(store, keep=2) == []
    assert {item.path for item in gc.collect(store, keep=1, delete=True)} == {item.path for item in listed}
    assert not any(stage.path.exists() for stage in first.stages)
    assert all(stage.path.exists() for stage in second.stages)
    assert verify_run(store, find_run(store, "demo")).holds


def test_young_results_stay_even_unused(here: Runtime) -> None:
    run(chain(), here)
    assert gc.collect(open_store(here.store), keep=0) == []


@pytest.mark.usefixtures("old")
def test_nothing_goes_that_somebody_works_on(here: Runtime) -> None:
    store, first, _ = logged(here, "x")
    logged(here, "y")
    record = first["a"].record
    with store.lease("a", record.fingerprint, lambda holder: None):
        workspace = store.begin("a", record.fingerprint)
        (workspace.scratch / "half").write_text("done")
        age(workspace.scratch, 30)
        removed = {item.path for item in gc.collect(store, keep=1, delete=True)}
        assert removed == {first["b"].path, first["c"].path}
        assert workspace.output.exists()
    log = RunLog(store, "third", {})
    run(chain("z"), here, log)
    assert not [item for item in gc.collect(store, keep=0) if item.reason == "unused"]  # a run is in progress
    log.close()
    assert [item for item in gc.collect(store, keep=0) if item.reason == "unused"]


def test_what_dead_processes_left_can_go_and_recent_half_done_work_stays(here: Runtime) -> None:
    store = open_store(here.store)
    result = run([toys.stage("a")], here)["a"]
    workspace = store.begin("z", "0" * 64)
    (workspace.output / "part").write_text("half a result")
    (workspace.scratch / "shard").write_text("half-done work")
    finished = store.scratch_of("a", result.record.fingerprint)
    finished.mkdir(parents=True)
    dead = {"token": "t", "owner": {"host": "h", "boot": "", "namespace": "", "pid": 1, "started": 1.0}, "children": []}
    store.lease_path("z", "1" * 64).write_text(json.dumps(dead))
    assert {item.path for item in gc.collect(store)} == {workspace.output, finished}
    age(workspace.scratch, 8)
    assert workspace.scratch in {item.path for item in gc.collect(store, delete=True)}
    assert not workspace.scratch.exists()
    assert not finished.exists()
    assert store.find("a", result.record.fingerprint)


def test_a_store_that_is_not_there_has_nothing_to_collect(tmp_path: Path) -> None:
    assert gc.collect(Store(tmp_path / "absent"), delete=True) == []
    assert not (tmp_path / "absent").exists()


# -- disk


def test_a_file_where_the_store_should_be_is_an_error_for_people(here: Runtime, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    for place in (blocked, blocked / "store"):
        with pytest.raises(StoreError, match="something else is in the way"):
            run([toys.stage("a")], dataclasses.replace(here, store=str(place)))
