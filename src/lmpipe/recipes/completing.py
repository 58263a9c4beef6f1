"""What one section of a recipe tells another, filled in before validation; what is written out stays as it is.

tokenizer.vocab_size  ->  model.for_vocabulary      a budget of parameters includes the embeddings
train.*.tokens        ->  model.parameters          no size and no shape: compute-optimal for the tokens (Hoffmann et al.
2022)

A model that is estimated, not trained by steps, is refused here, with the place where it belongs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lmpipe.base.errors import RecipeError
from lmpipe.models.sizing import optimal_parameters
from lmpipe.recipes.reading import Source
from lmpipe.tokens.special import SMALLEST_VOCABULARY

SHAPE = ("size", "parameters", "layers", "width", "from")
"""Keys of a model that say how large it is."""
LEAST_BUDGET = 500_000
LEAST_PER_TOKEN = 128
"""A training text too short for so many parameters, in all and for each entry of the vocabulary, trains the smallest named
size: embeddings would be most of the model."""


ESTIMATED = ("ngram", "hmm")
"""Language models that stand beside the trained one."""


def complete(source: Source) -> Source:
    """The recipe with what follows from other sections written into `model`.

    Raises:
        RecipeError: when the model is one of those that are only put beside another.
    """
    model, tokenizer = source.data.get("model"), source.data.get("tokenizer")
    if not isinstance(model, dict) or not isinstance(tokenizer, dict) or source.data.get("start_from") is not None:
        return source
    if model.get("kind") in ESTIMATED:
        raise RecipeError(
            f"'model.kind' is '{model['kind']}', which is estimated from counts: no phase can train it, and no bundle "
            "holds it, because the layout that others load has no such model",
            where=source.where(("model", "kind")),
            expected="a neural family; the other is put beside it on the same axis",
            fix=f"write `baselines: [{{kind: {model['kind']}}}]` in an evaluation of kind perplexity",
        )
    model, tokenizer = {"kind": "llama", **model}, {"kind": "bpe", **tokenizer}
    vocab_size = _vocab_size(tokenizer)
    if not any(key in model for key in SHAPE):
        model |= _by_tokens(source.data.get("train"), vocab_size)
    if model.get("parameters") is not None and isinstance(vocab_size, int):
        model.setdefault("for_vocabulary", vocab_size)
    return replace(source, data={**source.data, "model": model, "tokenizer": tokenizer})


def _vocab_size(tokenizer: dict[str, Any]) -> Any:
    """What the section says, or what follows from its kind; what is wrong in it is said by validation."""
    sentinels = tokenizer.get("sentinels", 0)
    if tokenizer["kind"] == "byte" and isinstance(sentinels, int):
        return SMALLEST_VOCABULARY + sentinels
    return tokenizer.get("vocab_size")


def _by_tokens(phases: Any, vocab_size: Any) -> dict[str, Any]:
    tokens = [phase.get("tokens") for phase in phases if isinstance(phase, dict)] if isinstance(phases, list) else []
    budget = optimal_parameters(sum(count for count in tokens if isinstance(count, int)))
    if not budget or not isinstance(vocab_size, int):
        return {}
    return {"parameters": budget} if budget >= max(LEAST_BUDGET, LEAST_PER_TOKEN * vocab_size) else {"size": "tiny"}
