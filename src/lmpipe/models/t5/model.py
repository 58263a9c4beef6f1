"""The T5 v1.1 layout for one device, in one reading: an encoder reads the source, a decoder predicts the target from it.

    source_BS > embedding > [ x + attention(norm(x)) > x + feed_forward(norm(x)) ] x layers > norm > memory_BSC
    target_BT > embedding > [ x + own attention > x + attention over memory > x + feed_forward ] x layers > norm > head

B rows, S source positions, T target positions, C width, V vocabulary. All blocks of a stack share one table of biases.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmpipe.models.heads import Head
from lmpipe.models.layers.attention import Cache, cached_mask, document_mask
from lmpipe.models.layers.feed_forward import FeedForward
from lmpipe.models.layers.initial import initialise
from lmpipe.models.layers.norm import RMSNorm
from lmpipe.models.network import EncoderDecoder
from lmpipe.models.t5.attention import BiasedAttention, LayerCache, RelativeBias, hide
from lmpipe.models.t5.config import T5Config


class Block(nn.Module):
    """What layers of both stacks have."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.norm_eps)
        self.attention = BiasedAttention(config.width, config.heads, config.head_dim)
        self.feed_forward_norm = RMSNorm(config.width, config.norm_eps)
        self.feed_forward = FeedForward(config.width, config.feed_forward_width, "gelu_tanh")
        self.dropout = config.dropout

    def feed(self, x_BTC: Tensor) -> Tensor:
        """The second half of a layer."""
        return x_BTC + self.drop(self.feed_forward(self.feed_forward_norm(x_BTC)))

    def drop(self, x: Tensor) -> Tensor:
        """Dropout, while training."""
        return F.dropout(x, self.dropout, self.training)


class EncoderBlock(Block):
    """One layer of the encoder."""

    def forward(self, x_BTC: Tensor, bias: Tensor | None) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        normed = self.attention_norm(x_BTC)
        attended = self.attention(normed, *self.attention.keys_and_values(normed), bias)
        return self.feed(x_BTC + self.drop(attended))


class DecoderBlock(Block):
    """One layer of the decoder: between its own attention and its feed-forward it looks at the source."""

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.cross_norm = RMSNorm(config.width, config.norm_eps)
        self.cross = BiasedAttention(config.width, config.heads, config.head_dim)

    def forward(
        self, x_BTC: Tensor, memory_BSC: Tensor, own_bias: Tensor, cross_bias: Tensor | None, cache: LayerCache | None
    ) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        normed = self.attention_norm(x_BTC)
        keys, values = self.attention.keys_and_values(normed)
        if cache is not None:
            keys, values = cache.own.append(keys, values)
            source = cache.source_keys_BHSD, cache.source_values_BHSD
        else:
            source = self.cross.keys_and_values(memory_BSC)
        x_BTC = x_BTC + self.drop(self.attention(normed, keys, values, own_bias))
        asked = self.cross_norm(x_BTC).view(len(source[0]), -1, x_BTC.shape[-1])  # beams of one source stand side by side
        x_BTC = x_BTC + self.drop(self.cross(asked, *source, cross_bias).view_as(x_BTC))
        return self.feed(x_BTC)


class Stack(nn.Module):
    """Blocks, the table of biases that they share, and the norm after them."""

    def __init__(self, config: T5Config, blocks: Sequence[Block], *, both_ways: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.bias = RelativeBias(config.heads, config.buckets, config.max_distance, both_ways=both_ways)
        self.norm = RMSNorm(config.width, config.norm_eps)


class ScaledHead(nn.Linear):
    """Logits; with the embedding for a matrix, states are scaled by 1 / sqrt(C) first (Raffel et al. 2020)."""

    def __init__(self, width: int, vocab_size: int, *, scaled: bool) -> None:
        super().__init__(width, vocab_size, bias=False)
        self.scale = width**-0.5 if scaled else 1.0

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., V)."""
        return super().forward(x if self.scale == 1.0 else x * self.scale)


class T5(EncoderDecoder):
    """An encoder-decoder in the T5 v1.1 layout."""

    def __init__(self, config: T5Config, vocab_size: int) -> None:
        super().__init__()
        self.config: T5Config = config
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, config.width)
        self.encoder = Stack(config, [EncoderBlock(config) for _ in range(config.layers)], both_ways=True)
        self.decoder = Stack(config, [DecoderBlock(config) for _ in range(config.decoder_depth)], both_ways=False)
        self.head = ScaledHead(config.width, vocab_size, scaled=config.tie_embeddings)
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight
        self._initialise()

    def encode(self, source_BS: Tensor, source_segments_BS: Tensor | None = None) -> Tensor:
        """The source's hidden states (B, S, C)."""
        x_BSC: Tensor = F.dropout(self.embedding(source_BS), self.config.dropout, self.training)
        mask = None if source_segments_BS is None else _same(source_segments_BS, source_segments_BS)
        bias = hide(self.encoder.bias(0, source_BS.shape[1]), mask, x_BSC.dtype)
        for block in self.encoder.blocks:
            x_BSC = block(x_BSC, bias)
        return F.dropout(self.encoder.norm(x_BSC), self.config.dropout, self.training)

    def hidden(
        self,
        target_BT: Tensor,
        memory_BSC: Tensor,
        source_segments_BS: Tensor | None = None,
        segments_BT: Tensor | None = None,
        cache: Sequence[LayerCache] | None = None,
    ) -> Tensor:
        """As `EncoderDecoder.hidden`."""
        start = cache[0].length if cache else 0
        stop = start + target_BT.shape[1]
        x_BTC: Tensor = F.dropout(self.embedding(target_BT), self.config.dropout, self.training)
        seen = document_mask(segments_BT) if segments_BT is not None else cached_mask(start, stop - start, target_BT.device)
        if seen is None:
            seen = torch.ones(stop - start, stop, dtype=torch.bool, device=target_BT.device).tril(diagonal=start)
        own_bias = hide(self.decoder.bias(start, stop), seen, x_BTC.dtype)
        across = None
        if source_segments_BS is not None:
            target_segments = torch.zeros_like(source_segments_BS[:, :1]) if segments_BT is None else segments_BT
            across = hide(None, _same(target_segments, source_segments_BS), x_BTC.dtype)
        for number, block in enumerate(self.decoder.blocks):
            x_BTC = block(x_BTC, memory_BSC, own_bias, across, cache[number] if cache else None)
        return F.dropout(self.decoder.norm(x_BTC), self.config.dropout, self.training)

    def new_cache(self, memory_BSC: Tensor, length: int, beams: int = 1) -> list[LayerCache]:
        """As `EncoderDecoder.new_cache`, one entry per layer."""
        shape = (beams * len(memory_BSC), self.config.heads, length, self.config.head_dim)
        caches = []
        for cross in (block.cross for block in self.decoder.blocks if isinstance(block, DecoderBlock)):
            keys, values = cross.keys_and_values(memory_BSC)
            caches.append(LayerCache(Cache(keys.new_empty(shape), keys.new_empty(shape)), keys, values))
        return caches

    @torch.no_grad()
    def _initialise(self) -> None:
        """As other networks, with the scale of the scores in the queries: T5's attention has none."""
        back = ("attention.out.weight", "cross.out.weight", "feed_forward.down.weight")
        initialise(self, self.config.layers, back)
        for module in self.modules():
            if isinstance(module, BiasedAttention):
                module.q.weight.mul_(self.config.head_dim**-0.5)


def _same(queries_BT: Tensor, keys_BS: Tensor) -> Tensor:
    """(B, 1, T, S), True where both are of one segment."""
    return queries_BT[:, None, :, None] == keys_BS[:, None, None, :]


def build(config: T5Config, vocab_size: int, head: Head) -> T5:
    """As `families.build`; the only head is the language head."""
    return T5(config, vocab_size)
