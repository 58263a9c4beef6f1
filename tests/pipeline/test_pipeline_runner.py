from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest
import toy_stages as toys
from toy_listener import Heard

from lmpipe.base.canonical import digest_of_file
from lmpipe.base.errors import SourceError, StageError
from lmpipe.base.runtime import Runtime
from lmpipe.pipeline.record import RECORD, read_record
from lmpipe.pipeline.runner import run
from lmpipe.pipeline.store import open_store
from lmpipe.pipeline.verified import scan


def chain(text: str = "x", **last: object) -> list[toys.Stage]:
    a = toys.stage("a", text=text)
    b = toys.stage("b", inputs={"in": a}, parts=2)
    return [a, b, toys.stage("c", inputs={"left": a, "right": b}, **last)]


def test_what_is_missing_is_computed_once_and_then_hit(here: Runtime) -> None:
    first, second = Heard(), Heard()
    result = run(chain(), here, first)
    again = run(chain(), here, second)
    assert first.computed == ["a", "b", "c"]
    assert second.hits == ["a", "b", "c"]
    assert not second.computed
    assert [stage.status for stage in again.stages] == ["hit"] * 3
    assert result["c"].record == again["c"].record
    assert (again["b"].path / "part-1.txt").read_text() == "|in=x|||0\n||1\n"


def test_the_record_keeps_identity_digests_and_what_was_observed(apart: Runtime) -> None:
    result = run(chain(), apart)["b"]
    record = read_record(result.path / RECORD)
    assert record == result.record
    assert not record.contradictions()
    assert record.files.keys() == {"part-0.txt", "part-1.txt"}
    assert record.observed.keys() == {"observed/clock.json"}
    assert record.files["part-0.txt"].sha256 == digest_of_file(result.path / "part-0.txt")
    assert record.facts == {"parts": 2}
    assert record.config["thresholds"] == {"min_chars": 50}
    assert record.inputs["in"].stage == "a"
    assert record.code.modules.keys() == {"toy_stages"}
    assert record.libraries["pydantic"]
    assert record.runtime["threads"] == 1
    assert record.cpu_seconds > 0
    assert 5e6 < record.peak_memory_bytes < 5e8
    assert record.energy.estimated == ("estimate" in record.energy.method)
    assert record.seconds > 0
    assert record.finished_at > record.started_at


def test_a_change_reaches_as_far_as_the_bytes_change(here: Runtime) -> None:
    def stages(text: str) -> list[toys.Stage]:
        a = toys.stage("a", "lower", text=text)
        return [toys.stage("b", inputs={"in": a})]

    run(stages("Some Text"), here)
    same, other = Heard(), Heard()
    run(stages("SOME TEXT"), here, same)
    run(stages("other text"), here, other)
    assert (same.computed, same.hits) == (["a"], ["b"])  # the same bytes came out: the cascade stops
    assert other.computed == ["a", "b"]


def test_observed_files_are_kept_but_identify_nothing(here: Runtime, tmp_path: Path) -> None:
    elsewhere = dataclasses.replace(here, store=str(tmp_path / "other"))
    first, second = run(chain(), here), run(chain(), elsewhere)
    clock = [(result["a"].path / "observed/clock.json").read_bytes() for result in (first, second)]
    assert clock[0] != clock[1]
    assert [s.record.content_digest for s in first.stages] == [s.record.content_digest for s in second.stages]


def test_where_it_runs_is_not_what_it_is(here: Runtime, apart: Runtime, tmp_path: Path) -> None:
    alone = dataclasses.replace(apart, store=str(tmp_path / "apart"), threads=2, workers=3)
    results = [run(chain(), runtime) for runtime in (here, alone)]
    identities = [[(s.record.fingerprint, s.record.content_digest) for s in result.stages] for result in results]
    assert identities[0] == identities[1]


def test_raw_files_identify_by_their_bytes(here: Runtime, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "x.txt").write_text("one")
    stages = [toys.stage("a", sources=toys.sources_of(folder))]
    run(stages, here)
    touched, changed = Heard(), Heard()
    os.utime(folder / "x.txt", ns=(1, 1))
    run(stages, here, touched)
    (folder / "x.txt").write_text("two")
    result = run(stages, here, changed)
    assert touched.hits == ["a"]
    assert changed.computed == ["a"]
    assert result["a"].record.sources["x.txt"].sha256 == digest_of_file(folder / "x.txt")


def test_an_unchanged_raw_file_is_not_read_again(here: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "big.bin"
    file.write_bytes(b"x" * 1000)
    os.utime(file, ns=(10**18, 10**18))
    reads = []

    def sources() -> list[toys.Source]:
        def digest() -> str:
            reads.append(file)
            return digest_of_file(file)

        return [toys.Source("big", str(file), 1000, str(file.stat().st_mtime_ns), digest)]

    for _ in range(3):
        run([toys.stage("a", sources=sources)], here)
    assert len(reads) == 1
    memory = Path(here.store) / ".digests.json"
    memory.write_text("{ damaged")
    run([toys.stage("a", sources=sources)], here)
    assert len(reads) == 2


def test_a_raw_file_that_was_just_written_is_not_trusted_by_its_time(here: Runtime, tmp_path: Path) -> None:
    """Two writes within one tick of the clock leave equal times and sizes."""
    file = tmp_path / "x.txt"
    file.write_text("one")
    stamp = time.time_ns()
    os.utime(file, ns=(stamp, stamp))

    def sources() -> list[toys.Source]:
        return [toys.Source("x", str(file), 3, str(file.stat().st_mtime_ns), lambda: digest_of_file(file))]

    run([toys.stage("a", sources=sources)], here)
    file.write_text("two")
    os.utime(file, ns=(stamp, stamp))
    heard = Heard()
    run([toys.stage("a", sources=sources)], here, heard)
    assert heard.computed == ["a"]


def test_a_raw_file_that_changes_while_it_is_read_is_an_error(here: Runtime, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "x.txt").write_text("one")
    stage = toys.stage("a", "rewrite_source", sources=toys.sources_of(folder))
    with pytest.raises(SourceError, match=r"changed while it was read: x\.txt"):
        run([stage], here)
    assert not open_store(here.store).records("a")


def test_a_failed_stage_leaves_the_finished_ones_and_nothing_of_its_own(here: Runtime) -> None:
    a = toys.stage("a")
    with pytest.raises(SourceError, match="the corpus is empty"):
        run([toys.stage("b", "refuse", inputs={"in": a})], here)
    heard = Heard()
    run([toys.stage("b", inputs={"in": a})], here, heard)
    assert (heard.hits, heard.computed) == (["a"], ["b"])
    assert not list((Path(here.store) / ".tmp").iterdir())


def test_links_and_odd_facts_are_refused(here: Runtime) -> None:
    with pytest.raises(StageError, match="neither a file nor a folder"):
        run([toys.stage("a", "link")], here)
    with pytest.raises(StageError, match="not plain JSON"):
        run([toys.stage("b", "odd_facts")], here)


def test_changed_code_under_an_unchanged_version_is_told_and_kept(here: Runtime, tmp_path: Path, monkeypatch) -> None:
    module = tmp_path / "changing_stage.py"
    module.write_text("def work(work):\n    (work.output / 'x').write_text('1')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    stage = toys.Stage("a", 1, toys.Toy(), "changing_stage:work")
    run([stage], here)
    module.write_text("def work(work):\n    (work.output / 'x').write_text('22')\n")
    heard = Heard()
    result = run([stage], here, heard)
    assert result["a"].status == "hit"
    assert any("changing_stage" in note and "version 1" in note for note in heard.notes)
    quiet = Heard()
    run([dataclasses.replace(stage, version=2)], here, quiet)
    assert quiet.computed == ["a"]


def test_a_damaged_output_is_named_set_aside_and_computed_anew(here: Runtime) -> None:
    first = run(chain(), here)
    file = first["b"].path / "part-1.txt"
    data = bytearray(file.read_bytes())
    data[3] ^= 1
    file.write_bytes(data)
    heard = Heard()
    second = run(chain(), here, heard)
    assert (heard.hits, heard.computed) == (["a", "c"], ["b"])
    assert any("part-1.txt has other bytes than recorded" in note for note in heard.notes)
    assert second["b"].record.content_digest == first["b"].record.content_digest
    kept = list((Path(here.store) / ".damaged").iterdir())
    assert [list(scan(folder)) for folder in kept] == [[*sorted(["observed/clock.json", "part-0.txt", "part-1.txt", RECORD])]]


@pytest.mark.parametrize("harm", ["truncate", "delete", "empty", "other stage's", "list", "flip"])
def test_a_damaged_record_is_no_result(here: Runtime, harm: str) -> None:
    first = run(chain(), here)
    path = first["b"].path / RECORD
    data = path.read_bytes()
    if harm == "delete":
        path.unlink()
    else:
        position = data.index(b'"facts"') + 20
        flipped = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        other = (first["a"].path / RECORD).read_bytes()
        harms = {"truncate": data[:100], "empty": b"", "other stage's": other, "list": b"[]", "flip": flipped}
        path.write_bytes(harms[harm])
    heard = Heard()
    second = run(chain(), here, heard)
    assert (heard.hits, heard.computed) == (["a", "c"], ["b"])
    assert any("computing it anew" in note for note in heard.notes)
    assert second["b"].record.content_digest == first["b"].record.content_digest


def test_a_stray_file_is_moved_out_and_the_result_kept(here: Runtime) -> None:
    """A stage that reads `part-*` would read it."""
    result = run(chain(), here)["a"]
    (result.path / "part-9.txt").write_text("stray")
    (result.path / ".DS_Store").write_text("a file browser was here")
    heard = Heard()
    run(chain(), here, heard)
    assert heard.hits == ["a", "b", "c"]
    assert any("part-9.txt" in note for note in heard.notes)
    assert not (result.path / "part-9.txt").exists()


def test_a_missing_output_is_computed_anew(here: Runtime) -> None:
    result = run(chain(), here)["a"]
    (result.path / "part-0.txt").unlink()
    heard = Heard()
    run(chain(), here, heard)
    assert heard.computed == ["a"]


def test_a_copied_store_is_verified_by_reading_it_once(here: Runtime, tmp_path: Path) -> None:
    import shutil

    run(chain(), here)
    copy = dataclasses.replace(here, store=str(tmp_path / "copy"))
    shutil.copytree(here.store, copy.store)
    file = next((tmp_path / "copy" / "c").glob("*/part-0.txt"))
    text = file.read_text()
    file.write_text(text.replace("x", "y", 1))  # same size, other bytes
    heard = Heard()
    run(chain(), copy, heard)
    assert (heard.hits, heard.computed) == (["a", "b"], ["c"])


def test_a_missing_function_is_an_error_with_its_name(here: Runtime) -> None:
    for target in ("toy_stages:absent", "no_such_module:f"):
        with pytest.raises(StageError, match=target.split(":")[0]):
            run([toys.Stage("a", 1, toys.Toy(), target)], here)


def test_a_relative_store_is_the_working_directorys(here: Runtime, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run([toys.stage("a")], dataclasses.replace(here, store="nearby"))
    assert (tmp_path / "nearby" / "a").is_dir()
