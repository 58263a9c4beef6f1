"""`lmpipe data` on a real run: a source is taken out, everything that held it is made again, and the record says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from .conftest import APART, Workplace


@pytest.mark.slow
def test_a_source_is_taken_out_and_everything_is_made_again(finished: Workplace, tmp_path: Path) -> None:
    workplace = Workplace(tmp_path / "work")
    shutil.copytree(finished.folder, workplace.folder)
    before = json.loads(workplace.lmpipe("data", "card", "tiny", "--json").stdout)[0]
    done = workplace.lmpipe("data", "remove", "recipe.yaml", "--source", "texts/0[0-4].txt", "--json", *APART)
    told = json.loads(done.stdout)
    assert done.returncode == {"GO": 0, "NO-GO": 3, "INCONCLUSIVE": 4}[told["verdict"]["verdict"]]
    assert told["removed"] == [f"texts/0{number}.txt" for number in range(5)]
    after = json.loads(workplace.lmpipe("data", "card", "tiny", "--json").stdout)[0]
    gone = {source["name"] for source in before["sources"]} - {source["name"] for source in after["sources"]}
    assert sorted(gone) == told["removed"]
    assert after["steps"][0]["rows_in"] == before["steps"][0]["rows_in"] - 5
    record = json.loads(next(workplace.folder.glob(f"store/runs/tiny/{told['run']}.json")).read_text())
    assert record["extra"]["overrides"] == told["overrides"]
    assert "texts/0[0-4].txt" in told["overrides"]["data.corpus.read.0.exclude"]
    bundle = json.loads((workplace.folder / told["bundle"] / "data_card.json").read_text())
    assert {source["name"] for source in bundle[0]["sources"]} == {source["name"] for source in after["sources"]}


def test_why_speaks_on_a_finished_run_and_refuses_what_is_not_there(finished: Workplace) -> None:
    card = json.loads(finished.lmpipe("data", "card", "tiny", "--json").stdout)[0]
    assert card["pii"]["counts"]["email"] == 8
    assert "texts/00.txt" in finished.lmpipe("data", "card", "tiny").stdout
    missing = finished.lmpipe("data", "why", "tiny", "texts/00.txt:9:nothing", "--json")
    assert missing.returncode == 2
    near = json.loads(missing.stdout)["fix"].split()[2].rstrip(",")
    found = finished.lmpipe("data", "why", "tiny", near)
    assert found.returncode == 0
    assert "kept at split-corpus" in found.stdout
    assert finished.lmpipe("data", "remove", "recipe.yaml", "--source", "nothing/*").returncode == 2
