"""The BERT and RoBERTa layouts by numbers: what a user may write, and what follows from it. Knows no tensor library."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmpipe.models.sizing import HEAD_WIDTH, Sized, underived

ROBERTA_OFFSET = 2
"""RoBERTa's positions begin after the id of its padding, which is 1: rows 0 and 1 of its table are never used."""


class BertConfig(Sized):
    """An encoder in the BERT layout (Devlin et al. 2019) or RoBERTa's (Liu et al. 2019): norms after each block, GELU."""

    architecture: ClassVar[str] = "encoder"
    heads_offered: ClassVar[tuple[str, ...]] = ("language", "sequence", "token", "embedding")

    kind: Literal["bert"] = "bert"
    layout: Literal["bert", "roberta"] = "bert"
    """Whose names and position table it is saved with; what it computes is the same."""
    heads: int = Field(default_factory=underived, ge=1, le=512)
    """Attention heads; `width` must be a multiple of it. Default: one for each 64 of width."""
    feed_forward: int | None = Field(default=None, ge=8)
    """Inner width of the feed-forward (`intermediate_size`). Default: four times `width`."""
    context: int = Field(default_factory=underived, ge=8, le=1 << 20)
    """Longest text, in tokens. Default: by size, 256 to 1024."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of activations dropped after embedding, attention, feed-forward and before labels while training."""
    norm_eps: float = Field(default=1e-12, gt=0)
    """Added to the variance in LayerNorm."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} over {self.heads} heads: expected a whole number per head")
        return self

    @classmethod
    def hanging_on(cls, layers: int, width: int) -> dict[str, int]:
        """As `Sized.hanging_on`."""
        return {"heads": max(1, width // HEAD_WIDTH)}

    def resolved(self) -> dict[str, Any]:
        """As `Sized.resolved`."""
        return {"feed_forward": self.feed_forward_width}

    @property
    def feed_forward_width(self) -> int:
        """`feed_forward`, default resolved."""
        return self.feed_forward or 4 * self.width

    @property
    def position_rows(self) -> int:
        """Rows of the position table (`max_position_embeddings`)."""
        return self.context + (ROBERTA_OFFSET if self.layout == "roberta" else 0)

    @property
    def token_types(self) -> int:
        """Rows of the table that tells first and second texts apart; we use the first alone."""
        return 2 if self.layout == "bert" else 1


def parameter_count(config: BertConfig, vocab_size: int) -> int:
    """Exactly how many parameters the model has with its language head, whose matrix is the embedding.

    >>> parameter_count(BertConfig(size="base", context=512), 30522)
    109514298
    """
    width, inner = config.width, config.feed_forward_width
    embeddings = (vocab_size + config.position_rows + config.token_types + 2) * width
    layer = 4 * width * width + 4 * width + 2 * width * inner + inner + width + 4 * width
    head = width * width + 3 * width + vocab_size
    return embeddings + config.layers * layer + head


def flops_per_token(config: BertConfig, vocab_size: int) -> float:
    """Floating-point operations of one training token, forward and backward, with logits at every position; as for Llama's."""
    looked_up = (config.position_rows + config.token_types) * config.width
    multiplied = parameter_count(config, vocab_size) - looked_up
    return 6.0 * multiplied + 12.0 * config.layers * config.width * config.context
