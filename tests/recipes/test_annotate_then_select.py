"""Scores are computed without bounds: a changed bound runs `select` again and nothing before it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from lmpipe.base.errors import RecipeError
from lmpipe.base.runtime import Runtime
from lmpipe.pipeline import runner
from lmpipe.pipeline.plan import plan
from lmpipe.pipeline.stage import Stage
from lmpipe.pipeline.store import open_store
from lmpipe.recipes.project import open_project


def write(path: Path, seed: int) -> str:
    generator = random.Random(seed)
    words = ["the", "house", "of", "a", "river", "and", "people", "that", "have", "been"]
    rows = [
        {"text": ". ".join(" ".join(generator.choices(words, k=12)) for _ in range(8)) + ".", "label": number % 2}
        for number in range(40)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "bad.txt").write_text("darn\n", encoding="utf-8")
    corpora = {
        name: {
            "read": [{"kind": "jsonl", "paths": [write(tmp_path / f"{name}.jsonl", seed)], "meta_columns": ["label"]}],
            "split": {"train": 0.5, "validation": 0.25, "test": 0.25},
        }
        for seed, name in enumerate(("corpus", "good", "bad"))
    }
    corpora["corpus"]["clean"] = [
        {"kind": "gopher_quality"},
        {"kind": "words", "path": str(tmp_path / "bad.txt")},
        {"kind": "quality", "positive": "good", "negative": "bad", "min_score": 0.0},
        {"kind": "toxicity", "labelled": {"on": "bad"}, "max_score": 1.0},
        {"kind": "perplexity", "reference": "good", "order": 3},
    ]
    return {
        "name": "filtered",
        "data": corpora,
        "tokenizer": {"vocab_size": 300, "train_on": "corpus"},
        "model": {"layers": 1, "width": 16, "heads": 2, "context": 64},
        "train": [{"name": "pretrain", "on": "corpus", "tokens": 4096, "batch_tokens": 512}],
    }


def data_stages(recipe: dict[str, Any], overrides: dict[str, Any], runtime: Runtime) -> list[Stage]:
    stages = open_project(recipe, overrides).stages(runtime)
    return [stage for stage in stages if stage.name == "split-corpus"]


BOUNDS = {
    "data.corpus.clean.0.max_words": 500,
    "data.corpus.clean.1.max_count": 3,
    "data.corpus.clean.2.min_score": 0.01,
    "data.corpus.clean.3.max_score": 0.99,
    "data.corpus.clean.4.max_quantile": 0.9,
}


def test_a_changed_bound_recomputes_the_selection_alone(whole: dict[str, Any], tmp_path: Path) -> None:
    runtime = Runtime(store=str(tmp_path / "store"), device="cpu", threads=1, workers=1, isolate=False)
    first = runner.run(data_stages(whole, {}, runtime), runtime)
    names = {result.name for result in first.stages}
    assert {"measure-corpus", "learn_quality-corpus", "quality-corpus", "toxicity-corpus", "perplexity-corpus"} <= names
    store = open_store(runtime.store)
    for path, value in BOUNDS.items():
        rows = plan(data_stages(whole, {path: value}, runtime), store)
        assert {row.name for row in rows if row.status != "hit"} == {"select-corpus", "split-corpus"}, path
    second = runner.run(data_stages(whole, {"data.corpus.clean.4.max_quantile": 0.9}, runtime), runtime)
    computed = {result.name for result in second.stages if result.status == "computed"}
    assert computed == {"select-corpus", "split-corpus"}


def test_lists_are_identified_by_their_text_and_not_by_their_place(whole: dict[str, Any], tmp_path: Path) -> None:
    runtime = Runtime(store=str(tmp_path / "store"), device="cpu", threads=1, workers=1, isolate=False)
    runner.run(data_stages(whole, {}, runtime), runtime)
    store = open_store(runtime.store)
    (tmp_path / "moved").mkdir()
    moved = tmp_path / "moved" / "renamed.txt"
    moved.write_text("darn\n", encoding="utf-8")
    there = {"data.corpus.clean.1.path": str(moved)}
    assert {row.status for row in plan(data_stages(whole, there, runtime), store)} == {"hit"}
    moved.write_text("darn\nother\n", encoding="utf-8")
    rows = {row.name: row.status for row in plan(data_stages(whole, there, runtime), store)}
    assert rows["measure-corpus"] == "miss"
    assert rows["quality-corpus"] == "hit"


def test_corpora_that_learn_from_one_another_are_refused(whole: dict[str, Any]) -> None:
    whole["data"]["good"]["clean"] = [{"kind": "perplexity", "reference": "corpus"}]
    with pytest.raises(RecipeError, match="learns from itself: corpus -> good -> corpus"):
        open_project(whole)
    whole["data"]["good"]["clean"] = [{"kind": "perplexity", "reference": "gone"}]
    with pytest.raises(RecipeError, match="names the corpus 'gone'"):
        open_project(whole)
