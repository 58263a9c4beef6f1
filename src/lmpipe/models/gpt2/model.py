"""The GPT-2 layout for one device, in one reading: tokens and positions, then blocks of attention and feed-forward, then
logits.

    ids_BT > embedding + positions > [ x + attention(norm(x)) > x + feed_forward(norm(x)) ] x layers > norm > head > logits_BTV

B rows, T positions, C width, V vocabulary. Positions count from the beginning of each document, also where a row holds several.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lmpipe.models.gpt2.config import Gpt2Config
from lmpipe.models.heads import Head
from lmpipe.models.layers.attention import Attention, Cache, Mask, attention_mask
from lmpipe.models.layers.feed_forward import PlainFeedForward
from lmpipe.models.layers.initial import initialise
from lmpipe.models.layers.positions import positions_of
from lmpipe.models.network import Decoder, check_length


class Block(nn.Module):
    """One layer."""

    def __init__(self, config: Gpt2Config) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.attention = Attention(config.width, config.heads, config.heads, qkv_bias=True, out_bias=True)
        self.feed_forward_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.feed_forward = PlainFeedForward(config.width, config.feed_forward_width, "gelu_tanh")
        self.dropout = config.dropout

    def forward(self, x_BTC: Tensor, mask: Mask | None, cache: Cache | None) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        attended = self.attention(self.attention_norm(x_BTC), None, None, mask, cache)
        x_BTC = x_BTC + F.dropout(attended, self.dropout, self.training)
        return x_BTC + F.dropout(self.feed_forward(self.feed_forward_norm(x_BTC)), self.dropout, self.training)


class Gpt2(Decoder):
    """A decoder in the GPT-2 layout."""

    def __init__(self, config: Gpt2Config, vocab_size: int) -> None:
        super().__init__()
        self.config: Gpt2Config = config
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, config.width)
        self.positions = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.head = nn.Linear(config.width, vocab_size, bias=False)
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight
        initialise(self, config.layers, ("attention.out.weight", "feed_forward.down.weight"))

    def hidden(
        self,
        ids_BT: Tensor,
        segments_BT: Tensor | None = None,
        cache: Sequence[Cache] | None = None,
        prefix_BT: Tensor | None = None,
    ) -> Tensor:
        """The last normalised residual stream (B, T, C).

        Raises:
            ModelError: when the text is longer than the position table.
        """
        start, padding_B = (cache[0].length, cache[0].padding_B) if cache else (0, None)
        positions = ids_BT.shape[1]
        check_length(start + positions, self.config.context)
        mask = attention_mask(ids_BT, segments_BT, prefix_BT, start, padding_B=padding_B)
        x_BTC = self.embedding(ids_BT) + self.positions(positions_of(ids_BT, segments_BT, start, padding_B))
        x_BTC = F.dropout(x_BTC, self.config.dropout, self.training)
        for number, block in enumerate(self.blocks):
            x_BTC = block(x_BTC, mask, cache[number] if cache else None)
        result: Tensor = self.norm(x_BTC)
        return result

    def new_cache(self, rows: int, length: int) -> list[Cache]:
        """An empty cache for `length` positions (at most the context), one entry per layer."""
        weight, heads = self.embedding.weight, self.config.heads
        shape = (rows, heads, length, self.config.width // heads)
        return [Cache(weight.new_empty(shape), weight.new_empty(shape)) for _ in self.blocks]


def build(config: Gpt2Config, vocab_size: int, head: Head) -> Gpt2:
    """As `families.build`; the only head is the language head."""
    return Gpt2(config, vocab_size)
