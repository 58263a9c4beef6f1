"""Suites of tasks in a recipe: what enters an identity, what is refused, and where the numbers come out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from lmpipe.base.errors import LmpipeError
from lmpipe.base.runtime import Runtime
from lmpipe.recipes.project import check, open_project

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))  # for `harness_tasks`
from harness_tasks import write_tasks


def recipe(folder: Path, **parts: Any) -> dict[str, Any]:
    (folder / "a.txt").write_text("It is said that the market is in Arden.\n", encoding="utf-8")
    return {
        "name": "asked",
        "data": {"corpus": {"read": [{"kind": "text", "paths": [str(folder / "a.txt")]}]}},
        "tokenizer": {"kind": "byte"},
        "model": {"kind": "llama", "layers": 1, "width": 16, "heads": 2, "context": 64},
        "train": [{"name": "learn", "on": "corpus", "tokens": 512, "batch_tokens": 128}],
        **parts,
    }


def fingerprint(given: dict[str, Any], folder: Path) -> Any:
    stages = open_project(given).stages(Runtime(store=str(folder / "store"), device="cpu"))
    stage = next(stage for stage in stages if stage.name == "evaluate-suite")
    assert stage.sources is not None
    return stage.config, sorted((source.name, source.digest()) for source in stage.sources())


def test_the_files_are_what_counts_wherever_they_lie(tmp_path: Path) -> None:
    here, there = write_tasks(tmp_path / "here"), write_tasks(tmp_path / "there")
    asked = [recipe(tmp_path, suites=[{"folder": str(folder), "tasks": ["choice"]}]) for folder in (here, there)]
    first, second = (fingerprint(given, tmp_path) for given in asked)
    assert first == second
    assert [name for name, _ in first[1]] == ["choice.yaml", "data/items.jsonl", "rolling.yaml", "written.yaml"]
    (there / "choice.yaml").write_text((there / "choice.yaml").read_text() + "\nnum_fewshot: 1\n", encoding="utf-8")
    assert fingerprint(asked[1], tmp_path) != first


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"suites": [{"folder": "nowhere", "tasks": ["choice"]}]}, "there is no folder 'nowhere'"),
        ({"suites": [{"tasks": ["one", "one"]}]}, "ask the task 'one' twice"),
        ({"suites": [{"tasks": []}]}, "at least 1 item"),
        (
            {"suites": [{"tasks": ["one"]}], "gate": {"require": [{"metric": "suite.one.acd", "at_least": 0.5}]}},
            "suite.one.acc",
        ),
        ({"suites": [{"tasks": ["one"]}], "model": {"kind": "bert", "layers": 1, "width": 16, "heads": 2}}, "bert"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(LmpipeError) as raised:
        check(recipe(tmp_path, **changes))
    assert told in str(raised.value)
