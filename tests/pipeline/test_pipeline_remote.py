"""Stores at fsspec URLs. `memory://` lives in this process only, so its stages run here; `file://` serves several processes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import fsspec
import pytest
import toy_stages as toys
from toy_listener import Heard

from lmpipe.base.errors import DamagedError, StoreError
from lmpipe.base.runtime import Runtime
from lmpipe.pipeline.gc import collect
from lmpipe.pipeline.owner import this_process
from lmpipe.pipeline.plan import plan
from lmpipe.pipeline.remote import RemoteStore
from lmpipe.pipeline.runner import run
from lmpipe.pipeline.runs import RunLog, find_run
from lmpipe.pipeline.store import open_store
from lmpipe.pipeline.verify import verify_run


def chain(text: str = "x") -> list[toys.Stage]:
    a = toys.stage("a", text=text)
    b = toys.stage("b", inputs={"in": a}, parts=2)
    return [a, b, toys.stage("c", inputs={"left": a, "right": b})]


@pytest.fixture(params=["memory", "file"])
def remote(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    monkeypatch.setenv("LMPIPE_CACHE", str(tmp_path / "cache"))
    urls = {"memory": f"memory://{tmp_path.name}/store", "file": f"file://{tmp_path}/shared"}
    return Runtime(store=urls[request.param], isolate=request.param == "file", threads=1, workers=1)


def forget_cache(tmp_path: Path) -> None:
    """Be another machine."""
    shutil.rmtree(tmp_path / "cache")


def remote_files(runtime: Runtime) -> dict[str, bytes]:
    filesystem, base = fsspec.core.url_to_fs(runtime.store)
    return {path.removeprefix(base).lstrip("/"): filesystem.cat_file(path) for path in filesystem.find(base)}


def test_a_result_is_the_same_as_in_a_local_store_and_is_hit_from_another_machine(
    remote: Runtime, here: Runtime, tmp_path: Path
) -> None:
    first = run(chain(), remote)
    local = run(chain(), here)
    assert [s.record.content_digest for s in first.stages] == [s.record.content_digest for s in local.stages]
    forget_cache(tmp_path)
    heard = Heard()
    again = run(chain(), remote, heard)
    assert heard.hits == ["a", "b", "c"]
    assert not (tmp_path / "cache").exists()  # nothing was fetched that nobody asked for
    assert (again["b"].path / "part-1.txt").read_bytes() == (local["b"].path / "part-1.txt").read_bytes()


def test_inputs_are_fetched_when_a_stage_needs_them(remote: Runtime, tmp_path: Path) -> None:
    run(chain()[:2], remote)
    forget_cache(tmp_path)
    heard = Heard()
    run(chain(), remote, heard)
    assert (heard.hits, heard.computed) == (["a", "b"], ["c"])


def test_a_damaged_remote_file_is_named_before_use_and_the_same_command_goes_on(remote: Runtime, tmp_path: Path) -> None:
    run(chain()[:2], remote)
    forget_cache(tmp_path)
    filesystem, base = fsspec.core.url_to_fs(remote.store)
    path = next(p for p in filesystem.find(f"{base}/b") if p.endswith("part-1.txt"))
    data = bytearray(filesystem.cat_file(path))
    data[0] ^= 1
    filesystem.pipe_file(path, bytes(data))
    with pytest.raises(DamagedError, match=r"part-1\.txt of stage 'b' has other bytes"):
        run(chain(), remote)
    heard = Heard()
    run(chain(), remote, heard)
    assert (heard.hits, heard.computed) == (["a"], ["b", "c"])


def test_an_upload_that_was_cut_off_is_finished_and_not_computed_again(remote: Runtime) -> None:
    """Killed before the record was sent, or in the middle of it."""
    run(chain(), remote)
    filesystem, base = fsspec.core.url_to_fs(remote.store)
    records = [p for p in filesystem.find(base) if p.endswith("record.json")]
    filesystem.rm_file(records[0])
    filesystem.pipe_file(records[1], b'{"format": "lmpi')
    heard = Heard()
    run(chain(), remote, heard)
    assert heard.hits == ["a", "b", "c"]
    assert len([name for name in remote_files(remote) if name.endswith("record.json")]) == 3
    assert json.loads(filesystem.cat_file(records[1]))["format"] == "lmpipe-record"


def test_a_damaged_remote_record_is_computed_anew(remote: Runtime, tmp_path: Path) -> None:
    run(chain(), remote)
    forget_cache(tmp_path)
    filesystem, base = fsspec.core.url_to_fs(remote.store)
    filesystem.pipe_file(next(p for p in filesystem.find(f"{base}/b") if p.endswith("record.json")), b"{}")
    heard = Heard()
    run(chain(), remote, heard)
    assert (heard.hits, heard.computed) == (["a", "c"], ["b"])


def test_a_damaged_cache_is_fetched_again(remote: Runtime) -> None:
    result = run(chain()[:2], remote)["b"]
    (result.path / "part-0.txt").write_text("damaged")
    heard = Heard()
    run(chain(), remote, heard)
    assert (heard.hits, heard.computed) == (["a", "b"], ["c"])
    assert (result.path / "part-0.txt").read_text() != "damaged"


def test_plan_runs_verify_and_gc_work_from_another_machine(remote: Runtime, tmp_path: Path) -> None:
    store = open_store(remote.store)
    log = RunLog(store, "demo", {"name": "demo"})
    run(chain(), remote, log)
    log.close(verdict={"verdict": "GO"})
    forget_cache(tmp_path)
    store = open_store(remote.store)
    assert [row.status for row in plan(chain(), store)] == ["hit"] * 3
    assert plan(chain("y"), store)[0].changes == ["config.text: 'x' -> 'y'"]
    found = find_run(store, "demo")
    assert found.verdict_word == "GO"
    assert verify_run(store, found).holds
    filesystem, base = fsspec.core.url_to_fs(remote.store)
    filesystem.pipe_file(next(p for p in filesystem.find(f"{base}/a") if p.endswith("part-0.txt")), b"z|||0\n")
    assert [(p.stage, p.file) for p in verify_run(store, found).problems] == [("a", "part-0.txt")]
    assert collect(store, delete=True) == []


def test_the_remote_lease_is_kept_while_computing_and_given_back(remote: Runtime, tmp_path: Path) -> None:
    store = open_store(remote.store)
    assert isinstance(store, RemoteStore)
    with store.lease("a", "0" * 64, lambda holder: None) as lease:
        (name,) = [name for name in remote_files(remote) if ".leases" in name]
        before = remote_files(remote)[name]
        assert json.loads(before)["token"] == lease.token
        lease.also_beat()
        assert remote_files(remote)[name] != before
    assert not [name for name in remote_files(remote) if ".leases" in name]


def test_another_machine_that_computes_is_waited_for(remote: Runtime) -> None:
    store = open_store(remote.store)
    filesystem, base = fsspec.core.url_to_fs(remote.store)
    path = f"{base}/.leases/a-{'0' * 16}.json"
    owner = {**this_process().model_dump(), "host": "elsewhere"}
    filesystem.makedirs(f"{base}/.leases", exist_ok=True)
    filesystem.pipe_file(path, json.dumps({"token": "t", "owner": owner, "beat": 1}).encode())
    waited = []

    def waiting(holder: object) -> None:
        waited.append(str(holder))
        filesystem.rm_file(path)

    with store.lease("a", "0" * 64, waiting):
        assert len(waited) == 1
        assert waited[0].endswith("on elsewhere")


def test_a_store_that_cannot_be_reached_is_an_error_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMPIPE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(StoreError, match="cannot open the store"):
        open_store("nosuch://bucket/store")
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(StoreError, match="cannot be used"):
        run([toys.stage("a")], Runtime(store=f"file://{blocked}/store", isolate=False))


def test_two_machines_may_compute_at_once_and_both_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(store=f"memory://{tmp_path.name}/both", isolate=False)
    monkeypatch.setenv("LMPIPE_CACHE", str(tmp_path / "one"))
    first = run(chain(), runtime)
    fsspec.filesystem("memory").rm(f"/{tmp_path.name}/both", recursive=True)
    monkeypatch.setenv("LMPIPE_CACHE", str(tmp_path / "two"))
    second = run(chain(), dataclasses.replace(runtime))
    assert [s.record.content_digest for s in first.stages] == [s.record.content_digest for s in second.stages]
    monkeypatch.setenv("LMPIPE_CACHE", str(tmp_path / "one"))
    heard = Heard()
    run(chain(), runtime, heard)
    assert heard.hits == ["a", "b", "c"]
