"""One dial for the size of a network: a name or a budget of parameters gives layers and width. Knows no tensor library.

    size: small              ->  layers, width from a table of published shapes
    parameters: 10M          ->  the most parameters within the budget, in a shape near 64 of width per layer
    neither, and no shape    ->  size: small

Explicit fields override what would be derived; `derivation` says what was derived and why. Sources: the names and shapes are
those of Turc et al. 2019 ("Well-Read Students Learn Better", table 1) and Devlin et al. 2019 up to `large`, Raffel et al. 2020
for `xl`. That loss hardly depends on the shape between 20 and 100 of width per layer: Kaplan et al. 2020, figure 5. Twenty
training tokens for each parameter: Hoffmann et al. 2022 (table 3).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from lmpipe.base.config import Config

Size = Literal["tiny", "mini", "small", "medium", "base", "large", "xl"]

SHAPES: dict[str, tuple[int, int]] = {
    "tiny": (2, 128),
    "mini": (4, 256),
    "small": (4, 512),
    "medium": (8, 512),
    "base": (12, 768),
    "large": (24, 1024),
    "xl": (24, 2048),
}
"""Layers and width."""
CONTEXTS = {"tiny": 256, "mini": 256, "small": 512, "medium": 512}
LONG_CONTEXT = 1024
DEFAULT_SIZE = "small"
HEAD_WIDTH = 64
"""Width of one attention head wherever heads are derived, as in the shapes above."""
WIDTH_PER_LAYER = 64
TOKENS_PER_PARAMETER = 20
UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


def _amount(value: Any) -> Any:
    """`10M` to ten million; anything else as it is."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmb]?)", value.strip().lower()) if isinstance(value, str) else None
    return int(float(match[1]) * UNITS[match[2]]) if match else value


Amount = Annotated[
    int,
    BeforeValidator(_amount, json_schema_input_type=int | Annotated[str, Field(pattern=r"^\s*\d+(\.\d+)?\s*[kmbKMB]?\s*$")]),
    Field(ge=1000),
]
"""A number of parameters: `10_000_000`, or "10M" (k, M, B)."""


def underived() -> Any:
    """Default of a field that `derive` fills in before fields are looked at."""
    raise AssertionError("a shape is derived before its fields are validated")


class Sized(Config):
    """A config whose shape may be derived. A family says which fields hang on the shape."""

    shapes: ClassVar[dict[str, tuple[int, int]]] = SHAPES
    """What the named sizes are: layers and width."""
    depth: ClassVar[int | None] = None
    """Layers within a budget where width is all that grows."""

    size: Size | None = None
    """A named shape: tiny, mini, small, medium, base, large or xl. Fields that are written out override it."""
    parameters: Amount | None = None
    """A budget instead of a size: the network with the most parameters within it, embeddings included; "10M" is ten million."""
    for_vocabulary: int | None = Field(default=None, ge=1)
    """The vocabulary that a budget was worked out for; a recipe fills it in from its tokenizer."""

    layers: int = Field(default_factory=underived, ge=1, le=200)
    """Layers (blocks), one after the other."""
    width: int = Field(default_factory=underived, ge=8, le=32_768)
    """Size of the residual stream (`hidden_size`)."""

    @classmethod
    def hanging_on(cls, layers: int, width: int) -> dict[str, int]:
        """Fields that follow from a shape, where they are not written out."""
        raise NotImplementedError

    def resolved(self) -> dict[str, Any]:
        """Optional fields with their defaults worked out, by name: what a report shows."""
        return {}

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, data: Any) -> Any:
        return derive(cls, data) if isinstance(data, dict) else data


def derive(cls: type[Sized], data: dict[str, Any]) -> dict[str, Any]:
    """A config's raw data with layers, width and what hangs on them filled in; what is there stays as it is.

    Raises:
        ValueError: when the budget is too small for any shape, or comes without a vocabulary.
    """
    layers, width = _shape(cls, data)
    if not (_positive(layers) and _positive(width)):  # wrong as written: the fields' own checks say so
        layers_, width_ = cls.shapes[DEFAULT_SIZE]
        return {"context": LONG_CONTEXT, **cls.hanging_on(layers_, width_), **data, "layers": layers, "width": width}
    context = CONTEXTS.get(str(data.get("size") or _nearest_size(layers, width)), LONG_CONTEXT)
    return {"context": context, **cls.hanging_on(layers, width), **data, "layers": layers, "width": width}


def _shape(cls: type[Sized], data: dict[str, Any]) -> tuple[Any, Any]:
    layers, width = data.get("layers"), data.get("width")
    if layers is not None and width is not None:
        return layers, width
    budget, vocab_size = _amount(data.get("parameters")), data.get("for_vocabulary")
    if _positive(budget):
        if not isinstance(vocab_size, int):
            raise ValueError("a budget of parameters needs for_vocabulary: embeddings are part of it")
        if (layers is None or _positive(layers)) and (width is None or _positive(width)):
            count = _counting(cls, data, vocab_size)
            return within_budget(budget, count, layers=layers or cls.depth, width=width)
    shape = cls.shapes.get(str(data.get("size") or DEFAULT_SIZE), cls.shapes[DEFAULT_SIZE])
    return layers if layers is not None else shape[0], width if width is not None else shape[1]


def _counting(cls: type[Sized], data: dict[str, Any], vocab_size: int) -> Callable[[int, int], int]:
    """Parameters of a shape, exactly, everything else as written; the longest default context, where positions are weights."""
    family = import_module(cls.__module__)

    def count(layers: int, width: int) -> int:
        written = {"context": LONG_CONTEXT, **cls.hanging_on(layers, width), **data, "layers": layers, "width": width}
        return int(family.parameter_count(cls.model_construct(**written), vocab_size))

    return count


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def within_budget(
    budget: int, count: Callable[[int, int], int], *, layers: int | None = None, width: int | None = None
) -> tuple[int, int]:
    """The shape (layers, width) whose parameters stay within the budget, as near to `WIDTH_PER_LAYER` as there is one.

    For each width (multiples of 64) as many layers as fit are taken, so that less than one layer of the budget is left.

    Raises:
        ValueError: when not even one layer of the least width fits.
    """
    found: list[tuple[float, int, int]] = []
    for candidate in [width] if width else range(HEAD_WIDTH, 65 * HEAD_WIDTH, HEAD_WIDTH):
        depth = layers or (budget - count(0, candidate)) // max(1, count(1, candidate) - count(0, candidate))
        if depth < 1 or count(depth, candidate) > budget:
            continue
        ratio = candidate / depth / WIDTH_PER_LAYER
        distance = max(ratio, 1 / ratio) if layers is None else -count(depth, candidate)
        found.append((distance, depth, candidate))
    if not found:
        least = count(layers or 1, width or HEAD_WIDTH)
        raise ValueError(f"a budget of {budget:,} parameters is too small: the least shape has {least:,} with its embeddings")
    _, depth, candidate = min(found)
    return depth, candidate


def _nearest_size(layers: int, width: int) -> str:
    """The named size with about as many weights in its blocks."""
    weights = layers * width * width
    return min(SHAPES, key=lambda name: abs(SHAPES[name][0] * SHAPES[name][1] ** 2 - weights))


def optimal_tokens(parameters: int) -> int:
    """Training tokens that make the best use of the computation for so many parameters (Hoffmann et al. 2022).

    >>> optimal_tokens(1_000_000)
    20000000
    """
    return TOKENS_PER_PARAMETER * parameters


def optimal_parameters(tokens: int) -> int:
    """The inverse of `optimal_tokens`."""
    return tokens // TOKENS_PER_PARAMETER


def derivation(config: Sized, parameters: int) -> dict[str, str]:
    """What the dial of a config gave, and why, for `plan`: one sentence per topic.

    Args:
        config: of any family.
        parameters: how many it has in all.
    """
    layers, width = config.layers, config.width
    shape = f"{layers} layers of width {width}"
    budget, vocabulary, size = config.parameters, config.for_vocabulary, config.size
    if budget and vocabulary:
        near = f"near {WIDTH_PER_LAYER} of width per layer (Kaplan et al. 2020, figure 5)"
        shape_rule = f"in {config.depth} layers" if config.depth else near
        why = f"the most that fits into {budget:,} parameters with a vocabulary of {vocabulary:,}, {shape_rule}"
    elif size:
        why = f"size {size}" + ("" if config.shapes[size] == (layers, width) else ", overridden")
    else:
        why = "as written"
    return {
        "shape": f"{shape}: {why}",
        "optimal_tokens": f"{optimal_tokens(parameters):,}: {TOKENS_PER_PARAMETER} for each parameter (Hoffmann et al. 2022)",
    }
