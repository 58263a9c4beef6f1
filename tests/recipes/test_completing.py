"""What one section of a recipe tells another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmpipe.base.errors import RecipeError
from lmpipe.base.runtime import Runtime
from lmpipe.recipes.project import open_project


def recipe(model: dict[str, Any], tokens: int, vocab_size: int = 4096) -> dict[str, Any]:
    return {
        "name": "small",
        "data": {"corpus": {"read": [{"kind": "text", "paths": ["a.txt"]}]}},
        "tokenizer": {"vocab_size": vocab_size, "train_on": "corpus"},
        "model": model,
        "train": [{"name": "pretrain", "on": "corpus", "tokens": tokens}],
    }


def shape(model: dict[str, Any], tokens: int, vocab_size: int = 4096) -> Any:
    return open_project(recipe(model, tokens, vocab_size)).recipe.model


def test_a_model_without_a_size_is_compute_optimal_for_its_tokens() -> None:
    model = shape({"kind": "gpt2"}, 200_000_000)
    assert (model.kind, model.parameters, model.for_vocabulary) == ("gpt2", 10_000_000, 4096)


@pytest.mark.parametrize(("tokens", "vocab_size"), [(1_000_000, 4096), (40_000_000, 32_768)])
def test_few_tokens_train_the_smallest_size(tokens: int, vocab_size: int) -> None:
    assert shape({}, tokens, vocab_size).size == "tiny"


def test_what_is_written_out_is_kept() -> None:
    model = shape({"kind": "llama", "layers": 3, "width": 96, "heads": 3, "context": 64}, 200_000_000)
    assert (model.layers, model.width, model.heads, model.context, model.parameters) == (3, 96, 3, 64, None)
    assert shape({"kind": "lstm", "parameters": "5M"}, 1000).for_vocabulary == 4096


@pytest.mark.parametrize("kind", ["ngram", "hmm"])
def test_a_model_of_counts_is_refused_with_the_place_where_it_belongs(kind: str) -> None:
    with pytest.raises(RecipeError, match=rf"no bundle holds it(.|\n)*baselines: \[\{{kind: {kind}\}}\]"):
        shape({"kind": kind}, 1000)


def test_evaluations_share_a_baseline_where_they_ask_for_the_same_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words\n")
    three, five, states = {"kind": "ngram", "order": 3}, {"kind": "ngram"}, {"kind": "hmm", "states": 2}
    given = recipe({"kind": "gpt2", "size": "tiny"}, 1000)
    given["data"]["corpus"]["read"][0]["paths"] = [str(tmp_path / "a.txt")]
    asked = [("validation", [three, states]), ("test", [five, states])]
    given["evaluate"] = [
        {"kind": "perplexity", "on": "corpus", "split": split, "baselines": baselines} for split, baselines in asked
    ]
    stages = {stage.name: stage for stage in open_project(given).stages(Runtime())}
    beside = [
        {role: stage.name for role, stage in stages[f"evaluate-corpus-{split}"].inputs.items() if role in ("ngram", "hmm")}
        for split in ("validation", "test")
    ]
    assert beside == [{"ngram": "ngram-corpus", "hmm": "hmm-corpus"}, {"ngram": "ngram-corpus-2", "hmm": "hmm-corpus"}]
    assert (stages["ngram-corpus"].config.order, stages["ngram-corpus-2"].config.order) == (3, 5)
