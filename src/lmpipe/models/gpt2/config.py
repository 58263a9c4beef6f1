"""The GPT-2 layout by numbers: what a user may write, and what follows from it. Knows no tensor library."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmpipe.models.sizing import HEAD_WIDTH, Sized, underived


class Gpt2Config(Sized):
    """A decoder in the GPT-2 layout (Radford et al. 2019): LayerNorm before each block, learned positions, GELU."""

    architecture: ClassVar[str] = "decoder"
    heads_offered: ClassVar[tuple[str, ...]] = ("language",)

    kind: Literal["gpt2"] = "gpt2"
    heads: int = Field(default_factory=underived, ge=1, le=512)
    """Attention heads; `width` must be a multiple of it. Default: one for each 64 of width."""
    feed_forward: int | None = Field(default=None, ge=8)
    """Inner width of the feed-forward (`n_inner`). Default: four times `width`."""
    context: int = Field(default_factory=underived, ge=8, le=1 << 20)
    """Tokens that a prediction can see, itself included: rows of the position table. Default: by size, 256 to 1024."""
    tie_embeddings: bool = True
    """One matrix for reading tokens in and predicting them."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations dropped after embedding, attention and feed-forward while training."""
    norm_eps: float = Field(default=1e-5, gt=0)
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


def parameter_count(config: Gpt2Config, vocab_size: int) -> int:
    """Exactly how many parameters the model has; a tied matrix counts once.

    >>> parameter_count(Gpt2Config(size="base"), 50257)  # GPT-2 small
    124439808
    """
    width, inner = config.width, config.feed_forward_width
    attention = 4 * width * width + 4 * width
    feed_forward = 2 * width * inner + inner + width
    embeddings = vocab_size * width * (1 if config.tie_embeddings else 2) + config.context * width
    return embeddings + config.layers * (attention + feed_forward + 4 * width) + 2 * width


def flops_per_token(config: Gpt2Config, vocab_size: int) -> float:
    """Floating-point operations of one training token, forward and backward; as for the Llama layout."""
    looked_up = (vocab_size * (1 if config.tie_embeddings else 2) + config.context) * config.width
    multiplied = parameter_count(config, vocab_size) - looked_up + vocab_size * config.width
    return 6.0 * multiplied + 12.0 * config.layers * config.width * config.context
