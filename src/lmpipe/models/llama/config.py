"""The Llama layout by numbers: what a user may write, and what follows from it. Knows no tensor library."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmpipe.models.sizing import HEAD_WIDTH, Sized, underived

FEED_FORWARD_MULTIPLE = 64
"""Derived feed-forward widths are rounded up to this: matrix kernels like it."""


class RotaryShape(Sized):
    """What every decoder with rotary positions and gated feed-forwards has."""

    heads: int = Field(default_factory=underived, ge=1, le=512)
    """Attention heads. Without `head_dim`, `width` must be a multiple of it, with an even quotient (rotary positions turn
    pairs). Default: one for each 64 of width."""
    kv_heads: int | None = Field(default=None, ge=1)
    """Heads of keys and values: fewer than `heads` is grouped-query attention (Ainslie et al. 2023). Default: as many."""
    feed_forward: int | None = Field(default=None, ge=8)
    """Inner width of the feed-forward (`intermediate_size`). Default: 8/3 of `width`, rounded up to a multiple of 64."""
    head_dim: int | None = Field(default=None, ge=2, multiple_of=2)
    """Width of one head where it is not `width` over `heads`, as in Qwen3 and Mistral Nemo."""
    sliding_window: int | None = Field(default=None, ge=1)
    """How many tokens attention looks back, itself included (Mistral). Default: the whole context."""
    context: int = Field(default_factory=underived, ge=8, le=1 << 20)
    """Tokens that a prediction can see, itself included. Default: by size, 256 to 1024."""
    rope_theta: float = Field(default=10_000.0, gt=1)
    """Base of the rotary frequencies."""
    tie_embeddings: bool = True
    """One matrix for reading tokens in and predicting them: worth it for small models, where it is most of the parameters."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations dropped after embedding, attention and feed-forward while training."""
    norm_eps: float = Field(default=1e-5, gt=0)
    """Added to the mean square in RMSNorm."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.head_dim is None and (self.width % self.heads or (self.width // self.heads) % 2):
            raise ValueError(f"width {self.width} over {self.heads} heads: expected an even whole number per head")
        if self.heads % self.key_value_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.key_value_heads} kv_heads evenly")
        return self

    @classmethod
    def hanging_on(cls, layers: int, width: int) -> dict[str, int]:
        """As `Sized.hanging_on`."""
        return {"heads": max(1, width // HEAD_WIDTH)}

    def resolved(self) -> dict[str, Any]:
        """As `Sized.resolved`."""
        return {"kv_heads": self.key_value_heads, "head_dim": self.head_width, "feed_forward": self.feed_forward_width}

    @property
    def key_value_heads(self) -> int:
        """`kv_heads`, default resolved."""
        return self.kv_heads or self.heads

    @property
    def head_width(self) -> int:
        """`head_dim`, default resolved."""
        return self.head_dim or self.width // self.heads

    @property
    def feed_forward_width(self) -> int:
        """`feed_forward`, default resolved."""
        return self.feed_forward or -(-8 * self.width // 3 // FEED_FORWARD_MULTIPLE) * FEED_FORWARD_MULTIPLE


class LlamaConfig(RotaryShape):
    """A decoder in the Llama layout (Touvron et al. 2023): RMSNorm before each block, rotary positions, gated feed-forward.

    With `sliding_window`, `qkv_bias` or `qk_norm` it is a Mistral, a Qwen2 or a Qwen3, and is saved as that.
    """

    architecture: ClassVar[str] = "decoder"
    heads_offered: ClassVar[tuple[str, ...]] = ("language",)

    kind: Literal["llama"] = "llama"
    qkv_bias: bool = False
    """Whether queries, keys and values have biases (Qwen2)."""
    qk_norm: bool = False
    """Whether queries and keys are normalised, head by head, before positions turn them (Qwen3)."""

    @model_validator(mode="after")
    def _public_layout(self) -> Self:
        if self.qk_norm and self.qkv_bias:
            raise ValueError("qk_norm and qkv_bias together are no public layout: Qwen2 has biases, Qwen3 norms")
        return self


def parameter_count(config: LlamaConfig, vocab_size: int) -> int:
    """Exactly how many parameters the model has; a tied matrix counts once.

    >>> parameter_count(LlamaConfig(layers=6, width=256, heads=4, context=256), 4096)
    5868800
    """
    attention = config.width * config.head_width * (2 * config.heads + 2 * config.key_value_heads)
    attention += config.head_width * (config.heads + 2 * config.key_value_heads) if config.qkv_bias else 0
    feed_forward = 3 * config.width * config.feed_forward_width
    norms = 2 * config.width + (2 * config.head_width if config.qk_norm else 0)
    embeddings = vocab_size * config.width * (1 if config.tie_embeddings else 2)
    return embeddings + config.layers * (attention + feed_forward + norms) + config.width


def flops_per_token(config: LlamaConfig, vocab_size: int) -> float:
    """Floating-point operations of one training token, forward and backward.

    6 per weight that multiplies (embedding look-ups do not), and 12 x layers x width of all heads x context for attention
    scores and values over the full square (Chowdhery et al. 2022, PaLM, appendix B); causal masking halves the latter at best.
    """
    embeddings = vocab_size * config.width * (1 if config.tie_embeddings else 2)
    multiplied = parameter_count(config, vocab_size) - embeddings + vocab_size * config.width
    return 6.0 * multiplied + 12.0 * config.layers * config.heads * config.head_width * config.context
