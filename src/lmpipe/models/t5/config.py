"""The T5 v1.1 layout by numbers: what a user may write, and what follows from it. Knows no tensor library."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from lmpipe.models.sizing import HEAD_WIDTH, Sized, underived

FEED_FORWARD_MULTIPLE = 64


class T5Config(Sized):
    """An encoder-decoder in the T5 v1.1 layout (Raffel et al. 2020; Shazeer 2020): relative positions, gated GELU, no
    biases."""

    architecture: ClassVar[str] = "encoder-decoder"
    heads_offered: ClassVar[tuple[str, ...]] = ("language",)

    kind: Literal["t5"] = "t5"
    decoder_layers: int | None = Field(default=None, ge=1, le=200)
    """Blocks of the decoder. Default: as many as `layers`, which are the encoder's."""
    heads: int = Field(default_factory=underived, ge=1, le=512)
    """Attention heads. Default: one for each 64 of width."""
    head_dim: int = Field(default=HEAD_WIDTH, ge=2)
    """Width of one head (`d_kv`); heads need not fill the width."""
    feed_forward: int | None = Field(default=None, ge=8)
    """Inner width of the feed-forward (`d_ff`). Default: 8/3 of `width`, rounded up to a multiple of 64."""
    context: int = Field(default_factory=underived, ge=8, le=1 << 20)
    """Longest source, and longest target, in tokens. Default: by size, 256 to 1024. There is no table: longer ones can be
    read."""
    buckets: int = Field(default=32, ge=4, multiple_of=4)
    """Distances that have a bias of their own (`relative_attention_num_buckets`)."""
    max_distance: int = Field(default=128, ge=8)
    """All distances from here on share a bias."""
    tie_embeddings: bool = False
    """One matrix for reading tokens in and predicting them, as in the first T5; v1.1 has two."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations dropped after embedding, attention and feed-forward while training."""
    norm_eps: float = Field(default=1e-6, gt=0)
    """Added to the mean square in RMSNorm."""

    @classmethod
    def hanging_on(cls, layers: int, width: int) -> dict[str, int]:
        """As `Sized.hanging_on`."""
        return {"heads": max(1, width // HEAD_WIDTH)}

    def resolved(self) -> dict[str, Any]:
        """As `Sized.resolved`."""
        return {"decoder_layers": self.decoder_depth, "feed_forward": self.feed_forward_width}

    @property
    def decoder_depth(self) -> int:
        """`decoder_layers`, default resolved."""
        return self.layers if self.decoder_layers is None else self.decoder_layers

    @property
    def feed_forward_width(self) -> int:
        """`feed_forward`, default resolved."""
        return self.feed_forward or -(-8 * self.width // 3 // FEED_FORWARD_MULTIPLE) * FEED_FORWARD_MULTIPLE


def parameter_count(config: T5Config, vocab_size: int) -> int:
    """Exactly how many parameters the model has; a tied matrix counts once.

    >>> parameter_count(T5Config(size="base", feed_forward=2048, context=512), 32128)  # T5 v1.1 base
    247577856
    """
    embeddings = vocab_size * config.width * (1 if config.tie_embeddings else 2)
    tables = 2 * config.buckets * config.heads + 2 * config.width
    return embeddings + tables + sum(_blocks(config))


def flops_per_token(config: T5Config, vocab_size: int) -> float:
    """Floating-point operations of one training token, forward and backward, where sources are as long as targets.

    A token of the source goes through the encoder alone, one of the target through the decoder and the head: half of each.
    """
    encoder, decoder = _blocks(config)
    attended = config.heads * config.head_dim * config.context * (config.layers + 2 * config.decoder_depth)
    return 3.0 * (encoder + decoder + vocab_size * config.width) + 6.0 * attended


def _blocks(config: T5Config) -> tuple[int, int]:
    attention = 4 * config.width * config.heads * config.head_dim + config.width
    feed_forward = 3 * config.width * config.feed_forward_width + config.width
    return config.layers * (attention + feed_forward), config.decoder_depth * (2 * attention + feed_forward)
