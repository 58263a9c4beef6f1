"""The ModernBERT layout by numbers: what a user may write, and what follows from it. Knows no tensor library."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmpipe.models.sizing import HEAD_WIDTH, Sized, underived

FEED_FORWARD_MULTIPLE = 64
LOCAL_THETA = 10_000.0
"""Base of the rotary frequencies in layers that look near by."""


class ModernBertConfig(Sized):
    """An encoder in the ModernBERT layout (Warner et al. 2024): norms before each block, rotary positions, GEGLU, no biases,
    and attention that looks near by in two layers of three."""

    architecture: ClassVar[str] = "encoder"
    heads_offered: ClassVar[tuple[str, ...]] = ("language", "sequence", "token", "embedding")

    kind: Literal["modernbert"] = "modernbert"
    heads: int = Field(default_factory=underived, ge=1, le=512)
    """Attention heads; `width` must be a multiple of it, with an even quotient. Default: one for each 64 of width."""
    feed_forward: int | None = Field(default=None, ge=8)
    """Inner width of the feed-forward (`intermediate_size`). Default: 1.5 of `width`, rounded up to a multiple of 64."""
    context: int = Field(default_factory=underived, ge=8, le=1 << 20)
    """Longest text, in tokens. Default: by size, 256 to 1024."""
    global_every: int = Field(default=3, ge=1)
    """Every so many layers, the first one included, attention sees the whole text."""
    local_window: int = Field(default=128, ge=2, multiple_of=2)
    """How many tokens attention sees in the other layers, half of them to each side (`local_attention`)."""
    rope_theta: float = Field(default=160_000.0, gt=1)
    """Base of the rotary frequencies where the whole text is seen; 10,000 in the other layers."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations dropped after embedding, attention, inside feed-forward and before labels while training."""
    norm_eps: float = Field(default=1e-5, gt=0)
    """Added to the variance in LayerNorm."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"width {self.width} over {self.heads} heads: expected an even whole number per head")
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
        return self.feed_forward or -(-3 * self.width // 2 // FEED_FORWARD_MULTIPLE) * FEED_FORWARD_MULTIPLE


def parameter_count(config: ModernBertConfig, vocab_size: int) -> int:
    """Exactly how many parameters the model has with its language head, whose matrix is the embedding.

    >>> parameter_count(ModernBertConfig(layers=22, width=768, context=8192), 50368)  # ModernBERT-base
    149655232
    """
    width, inner = config.width, config.feed_forward_width
    layer = 4 * width * width + 3 * width * inner + 2 * width
    head = width * width + width + vocab_size
    return vocab_size * width + width + config.layers * layer - width * bool(config.layers) + width + head


def flops_per_token(config: ModernBertConfig, vocab_size: int) -> float:
    """Floating-point operations of one training token, forward and backward, with logits at every position; as for Llama's."""
    seen = sum(
        config.context if layer % config.global_every == 0 else min(config.context, config.local_window + 1)
        for layer in range(config.layers)
    )
    return 6.0 * parameter_count(config, vocab_size) + 12.0 * config.width * seen
