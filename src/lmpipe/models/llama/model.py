"""The Llama layout for one device, in one reading: embed, then blocks of attention and feed-forward, then logits.

    ids_BT > embedding > [ x + attention(norm(x)) > x + feed_forward(norm(x)) ] x layers > norm > logits_BTV

B rows, T positions, C width, V vocabulary, H heads, D head width. Parallelism, precision, compilation and names on disk are
applied from outside (`training/`, `hf.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lmpipe.models.heads import Head
from lmpipe.models.layers.attention import Attention, Cache, Mask, attention_mask
from lmpipe.models.layers.feed_forward import FeedForward
from lmpipe.models.layers.initial import initialise
from lmpipe.models.layers.norm import RMSNorm
from lmpipe.models.layers.positions import positions_of
from lmpipe.models.layers.rotary import rotary_table
from lmpipe.models.llama.config import LlamaConfig, RotaryShape
from lmpipe.models.network import Decoder, check_length


class Block(nn.Module):
    """One layer."""

    def __init__(self, config: RotaryShape, feed_forward: nn.Module, *, qkv_bias: bool = False, qk_norm: bool = False) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_eps)
        self.attention = Attention(
            config.width,
            config.heads,
            config.key_value_heads,
            head_width=config.head_width,
            qkv_bias=qkv_bias,
            qk_norm_eps=config.norm_eps if qk_norm else None,
        )
        self.feed_forward_norm = RMSNorm(config.width, config.norm_eps)
        self.feed_forward = feed_forward
        self.dropout = config.dropout

    def forward(self, x_BTC: Tensor, cos_TD: Tensor, sin_TD: Tensor, mask: Mask | None, cache: Cache | None) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        x_BTC = x_BTC + self._drop(self.attention(self.attention_norm(x_BTC), cos_TD, sin_TD, mask, cache))
        return x_BTC + self._drop(self.feed_forward(self.feed_forward_norm(x_BTC)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x


class RotaryDecoder(Decoder):
    """Everything around the blocks, whatever their feed-forwards are.

    Weights start as in GPT-2, drawn from torch's default generator: seed it first.
    """

    cos_TD: Tensor
    sin_TD: Tensor

    def __init__(self, config: RotaryShape, vocab_size: int, blocks: Iterable[Block]) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, config.width)
        self.blocks = nn.ModuleList(blocks)
        self.norm = RMSNorm(config.width, config.norm_eps)
        self.head = nn.Linear(config.width, vocab_size, bias=False)
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight
        self.materialise()
        initialise(self, config.layers, ("attention.out.weight", "feed_forward.down.weight", "feed_forward.down"))

    def hidden(
        self,
        ids_BT: Tensor,
        segments_BT: Tensor | None = None,
        cache: Sequence[Cache] | None = None,
        prefix_BT: Tensor | None = None,
    ) -> Tensor:
        """The last normalised residual stream (B, T, C): what the logits are made from.

        Raises:
            ModelError: when the text is longer than the context.
        """
        start, padding_B = (cache[0].length, cache[0].padding_B) if cache else (0, None)
        stop = start + ids_BT.shape[1]
        check_length(stop, self.config.context)
        mask = attention_mask(ids_BT, segments_BT, prefix_BT, start, self.config.sliding_window, padding_B)
        x_BTC = self.embedding(ids_BT)
        if self.training and self.config.dropout:
            x_BTC = F.dropout(x_BTC, self.config.dropout)
        if padding_B is None:
            cos_TD, sin_TD = self.cos_TD[start:stop].to(x_BTC.dtype), self.sin_TD[start:stop].to(x_BTC.dtype)
        else:  # each row's own, the same for all heads
            places_B1T = positions_of(ids_BT, None, start, padding_B)[:, None]
            cos_TD, sin_TD = self.cos_TD[places_B1T].to(x_BTC.dtype), self.sin_TD[places_B1T].to(x_BTC.dtype)
        for number, block in enumerate(self.blocks):
            x_BTC = block(x_BTC, cos_TD, sin_TD, mask, cache[number] if cache else None)
        result: Tensor = self.norm(x_BTC)
        return result

    def new_cache(self, rows: int, length: int) -> list[Cache]:
        """An empty cache for `length` positions (at most the context), one entry per layer."""
        weight = self.embedding.weight
        shape = (rows, self.config.key_value_heads, length, self.config.head_width)
        return [Cache(weight.new_empty(shape), weight.new_empty(shape)) for _ in self.blocks]

    def materialise(self, device: str | None = None) -> None:
        """Compute the rotary table, on `device`: it is no weight, so loading weights does not bring it."""
        cos_TD, sin_TD = rotary_table(self.config.head_width, self.config.context, self.config.rope_theta)
        self.register_buffer("cos_TD", cos_TD.to(device) if device else cos_TD, persistent=False)
        self.register_buffer("sin_TD", sin_TD.to(device) if device else sin_TD, persistent=False)


class Llama(RotaryDecoder):
    """A decoder in the Llama layout."""

    config: LlamaConfig

    def __init__(self, config: LlamaConfig, vocab_size: int) -> None:
        feed_forwards = (FeedForward(config.width, config.feed_forward_width) for _ in range(config.layers))
        blocks = (Block(config, each, qkv_bias=config.qkv_bias, qk_norm=config.qk_norm) for each in feed_forwards)
        super().__init__(config, vocab_size, blocks)


def build(config: LlamaConfig, vocab_size: int, head: Head) -> Llama:
    """As `families.build`; the only head is the language head."""
    return Llama(config, vocab_size)
