"""Recurrent networks by numbers: what a user may write, and what follows from it. Knows no tensor library."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from lmpipe.models.sizing import Sized, underived

GATES = {"lstm": 4, "rnn": 1}
"""Rows of a cell's matrices, over its width."""


class LstmConfig(Sized):
    """A recurrent decoder: LSTM (Hochreiter and Schmidhuber 1997) or plain tanh cells, the same dropout at every step of a text
    (Gal and Ghahramani 2016).

    Named sizes have two layers and the widths of Zaremba et al. 2014 for medium and large.
    """

    architecture: ClassVar[str] = "decoder"
    heads_offered: ClassVar[tuple[str, ...]] = ("language",)
    shapes: ClassVar[dict[str, tuple[int, int]]] = {
        "tiny": (2, 128),
        "mini": (2, 256),
        "small": (2, 512),
        "medium": (2, 650),
        "base": (2, 1024),
        "large": (2, 1500),
        "xl": (2, 2048),
    }
    depth: ClassVar[int | None] = 2

    kind: Literal["lstm"] = "lstm"
    cell: Literal["lstm", "rnn"] = "lstm"
    """lstm: with gates; rnn: tanh of the sum, which forgets fast (Elman 1990)."""
    context: int = Field(default_factory=underived, ge=8, le=1 << 20)
    """Tokens that gradients flow back over while training; when predicting, the state is carried without end."""
    tie_embeddings: bool = True
    """One matrix for reading tokens in and predicting them (Press and Wolf 2017)."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations dropped after the embedding and after each layer while training: the same ones at every position."""

    @classmethod
    def hanging_on(cls, layers: int, width: int) -> dict[str, int]:
        """As `Sized.hanging_on`: nothing but the context."""
        return {}


def parameter_count(config: LstmConfig, vocab_size: int) -> int:
    """Exactly how many parameters the model has; a tied matrix counts once.

    >>> parameter_count(LstmConfig(layers=1, width=64, context=32), 300)
    52780
    """
    layer = GATES[config.cell] * config.width * (2 * config.width + 2)
    embeddings = vocab_size * config.width * (1 if config.tie_embeddings else 2)
    return embeddings + config.layers * layer + vocab_size


def flops_per_token(config: LstmConfig, vocab_size: int) -> float:
    """Floating-point operations of one training token, forward and backward: 6 per weight that multiplies."""
    return 6.0 * (config.layers * GATES[config.cell] * 2 * config.width**2 + vocab_size * config.width)
