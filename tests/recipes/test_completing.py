"""What one section of a recipe tells another."""

from __future__ import annotations

from typing import Any

import pytest

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
