"""What a recipe may say of duplicates and evaluation text, and which stages that makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lmpipe.base.errors import RecipeError
from lmpipe.base.runtime import Runtime
from lmpipe.recipes.building import build_graph
from lmpipe.recipes.graph import Graph
from lmpipe.recipes.schema import Recipe


def recipe(corpora: dict[str, dict[str, Any]], **sections: Any) -> Recipe:
    read = {"read": [{"kind": "text", "paths": ["*.txt"]}]}
    return Recipe.model_validate(
        {
            "name": "some",
            "data": {name: {**read, **corpus} for name, corpus in corpora.items()},
            "tokenizer": {"kind": "bpe", "vocab_size": 300, "train_on": "a"},
            "model": {"kind": "llama", "layers": 1, "width": 16, "heads": 2, "context": 64},
            "train": [{"name": "pretrain", "on": "a", "tokens": 4096, "batch_tokens": 512}],
            **sections,
        }
    )


def graph(folder: Path, whole: Recipe) -> Graph:
    (folder / "a.txt").write_text("text")
    return build_graph(whole, Runtime(store=str(folder / "store")), [folder])


def test_each_kind_is_a_stage_that_leaves_out_what_was_marked_before(tmp_path: Path) -> None:
    kinds = [{"kind": "exact"}, {"kind": "minhash", "against": ["b"]}, {"kind": "lines"}, {"kind": "spans"}]
    stages = graph(tmp_path, recipe({"a": {"dedup": kinds}, "b": {}})).stages
    assert set(stages["exact-a"].inputs) == {"documents"}
    assert {role: stage.name for role, stage in stages["minhash-a"].inputs.items()} == {
        "documents": "read-a",
        "earlier-duplicates-0-exact": "exact-a",
        "against-b": "read-b",
    }
    assert {role: stage.name for role, stage in stages["select-a"].inputs.items()} == {
        "documents": "read-a",
        "duplicates-0-exact": "exact-a",
        "duplicates-1-minhash": "minhash-a",
    }
    assert stages["lines-a"].inputs["documents"].name == "select-a"
    assert stages["split-a"].inputs["documents"].inputs["documents"].name == "lines-a"
    assert "split-b" not in stages  # a corpus for comparison alone is never divided


def test_text_alone_may_be_taken_out(tmp_path: Path) -> None:
    stages = graph(tmp_path, recipe({"a": {"dedup": [{"kind": "paragraphs"}]}})).stages
    assert "select-a" not in stages
    assert stages["split-a"].inputs["documents"].name == "paragraphs-a"


def test_training_text_is_cleaned_of_what_is_measured_elsewhere_even_mutually(tmp_path: Path) -> None:
    both = {"a": {"decontaminate": {}}, "b": {"decontaminate": {"action": "refuse"}}}
    measured = [{"kind": "perplexity", "on": "a"}, {"kind": "perplexity", "on": "b"}]
    measured.append({"kind": "perplexity", "on": "b", "split": "validation"})
    stages = graph(tmp_path, recipe(both, evaluate=measured)).stages
    assert {role: stage.name for role, stage in stages["decontaminate-a"].inputs.items()} == {
        "documents": "split-a",
        "evaluated-b": "split-b",
    }
    assert stages["decontaminate-a"].config.model_dump()["sets"] == ("b.test", "b.validation")
    assert stages["decontaminate-b"].config.model_dump()["sets"] == ("a.test",)
    assert stages["tokenize-a"].inputs["documents"].name == "decontaminate-a"


def test_items_that_evaluations_bring_are_looked_for_under_names_without_paths(tmp_path: Path) -> None:
    judge = {"kind": "endpoint", "base_url": "http://127.0.0.1:1/v1", "model": "some"}
    sections = {
        "judged": [{"name": "answers", "file": "asked.jsonl", "against": "good", "judge": judge, "max_new_tokens": 8}],
        "programs": [{"name": "he", "file": "problems.jsonl", "format": "humaneval", "limit": 5, "max_new_tokens": 8}],
        "suites": [{"tasks": ["t"], "folder": "own/tasks"}],
    }
    (tmp_path / "own" / "tasks" / "data").mkdir(parents=True)
    for name in ("t.yaml", "data/items.jsonl", "data/notes.txt"):
        (tmp_path / "own" / "tasks" / name).write_text("task: t\n")
    for name in ("asked.jsonl", "problems.jsonl"):
        (tmp_path / name).write_text("{}\n")
    stage = graph(tmp_path, recipe({"a": {"decontaminate": {}}}, **sections)).stages["decontaminate-a"]
    assert stage.config.model_dump()["brought"] == (
        {"set": "judged.answers", "columns": ("prompt", "good"), "limit": None},
        {"set": "programs.he", "columns": ("prompt", "canonical_solution"), "limit": 5},
        {"set": "suite.own.tasks.data.items.jsonl", "columns": None, "limit": None},
    )
    assert stage.sources is not None
    assert [source.name for source in stage.sources()] == ["judged.answers", "programs.he", "suite.own.tasks.data.items.jsonl"]
    assert str(tmp_path) not in stage.config.model_dump_json()


def test_what_makes_no_sense_is_refused() -> None:
    near = {"dedup": [{"kind": "minhash", "against": ["b"]}]}
    with pytest.raises(ValidationError, match="names the corpus 'b'"):
        recipe({"a": near})
    with pytest.raises(ValidationError, match="compares the corpus with itself: a against b against a"):
        recipe({"a": near, "b": {"dedup": [{"kind": "exact", "against": ["a"]}]}})
    with pytest.raises(ValidationError, match=r"data\.a\.decontaminate is dead"):
        recipe({"a": {"decontaminate": {}}}, evaluate=[{"kind": "perplexity", "on": "a"}])


def test_a_model_for_embeddings_must_be_a_folder(tmp_path: Path) -> None:
    whole = recipe({"a": {"dedup": [{"kind": "semantic", "model": "nobody/nothing"}]}})
    with pytest.raises(RecipeError, match="there is no folder 'nobody/nothing'"):
        graph(tmp_path, whole)
    (tmp_path / "nobody" / "nothing").mkdir(parents=True)
    (tmp_path / "nobody" / "nothing" / "config.json").write_text("{}")
    stage = graph(tmp_path, whole).stages["semantic-a"]
    assert str(tmp_path) not in stage.config.model_dump_json()
    assert stage.sources is not None
    assert [source.name for source in stage.sources()] == ["encoder"]
