from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import toy_stages as toys

from lmpipe.base.canonical import digest_of_file
from lmpipe.base.runtime import Runtime
from lmpipe.pipeline.plan import PlanRow, plan
from lmpipe.pipeline.runner import run
from lmpipe.pipeline.store import open_store


def told(rows: list[PlanRow]) -> list[tuple[str, str, list[str], list[str]]]:
    return [(row.name, row.status, row.changes, row.depends_on) for row in rows]


def chain(minimum: int = 50, version: int = 1, text: str = "x") -> list[toys.Stage]:
    a = toys.stage("a", text=text)
    b = toys.stage("b", inputs={"tokens": a}, thresholds={"min_chars": minimum}, version=version)
    return [toys.stage("c", inputs={"in": b})]


def test_a_plan_of_nothing_says_so_and_makes_no_store(here: Runtime) -> None:
    rows = plan(chain(), open_store(here.store))
    assert told(rows) == [("a", "miss", [], []), ("b", "depends", [], ["a"]), ("c", "depends", [], ["b"])]
    assert [row.reason for row in rows] == ["never computed", "depends on a; never computed", "depends on b; never computed"]
    assert not Path(here.store).exists()


def test_a_plan_after_a_run_is_all_hits(here: Runtime) -> None:
    result = run(chain(), here)
    rows = plan(chain(), open_store(here.store))
    assert [row.status for row in rows] == ["hit"] * 3
    assert [row.fingerprint for row in rows] == [stage.record.fingerprint for stage in result.stages]
    assert rows[0].record is not None


def test_a_miss_is_explained_by_field_against_the_nearest_earlier_result(here: Runtime) -> None:
    for minimum in (50, 70):
        run(chain(minimum), here)
    rows = plan(chain(100, version=2), open_store(here.store))
    assert told(rows) == [
        ("a", "hit", [], []),
        ("b", "miss", ["version 1 -> 2", "config.thresholds.min_chars: 70 -> 100"], []),
        ("c", "depends", [], ["b"]),
    ]


def test_what_a_waiting_stage_says_itself_is_told_already(here: Runtime) -> None:
    run(chain(), here)
    rows = plan(chain(60, text="y"), open_store(here.store))
    assert told(rows)[0] == ("a", "miss", ["config.text: 'x' -> 'y'"], [])
    assert told(rows)[1] == ("b", "depends", ["config.thresholds.min_chars: 50 -> 60"], ["a"])


def test_changed_inputs_and_raw_files_are_named(here: Runtime, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for name in ("x.txt", "y.txt"):
        (folder / name).write_text("one")

    def stages() -> list[toys.Stage]:
        a = toys.stage("a", sources=toys.sources_of(folder))
        return [toys.stage("b", inputs={"tokens": a})]

    run(stages(), here)
    (folder / "x.txt").write_text("two")
    (folder / "z.txt").write_text("new")
    assert plan(stages(), open_store(here.store))[0].changes == ["source x.txt changed", "source z.txt added"]
    run(stages()[0].inputs.values(), here)
    rows = plan(stages(), open_store(here.store))
    assert told(rows) == [("a", "hit", [], []), ("b", "miss", ["input tokens changed"], [])]


def test_a_damaged_result_is_a_miss_that_says_so(here: Runtime) -> None:
    result = run(chain(), here)
    (result["a"].path / "record.json").write_text("{}")
    (result["c"].path / "part-0.txt").unlink()
    rows = plan(chain(), open_store(here.store))
    assert rows[0].status == "miss"
    assert "damaged" in rows[0].reason


def test_much_raw_text_that_was_never_read_is_not_read_by_a_plan(here: Runtime, tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text("one")
    size = [3]

    def sources() -> list[toys.Source]:
        def digest() -> str:
            assert size[0] == 3, "a plan read a terabyte"
            return digest_of_file(file)

        return [toys.Source("x", str(file), size[0], str(size[0]), digest)]

    run([toys.stage("a", sources=sources)], here)
    size[0] = 10**12
    row = plan([toys.stage("a", sources=sources)], open_store(here.store))[0]
    assert (row.status, row.reason) == ("miss", "1000.0 GB of raw text were not read yet")


def test_planning_imports_neither_torch_nor_numpy_nor_fsspec() -> None:
    code = (
        "import sys; from lmpipe.pipeline import plan, runner, runs, gc, lineage, verify;"
        "print([m for m in ('torch', 'numpy', 'pyarrow', 'fsspec', 'psutil', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout.strip() == "[]"
