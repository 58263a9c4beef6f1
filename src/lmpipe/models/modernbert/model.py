"""The ModernBERT layout for one device, in one reading: tokens, then blocks with norms before them, then a head.

    ids_BT > norm(embedding) > [ x + attention(norm(x)) > x + feed_forward(norm(x)) ] x layers > norm > head

The first block's attention has no norm: the embedding's stands right before it. Attention sees the whole text in layers 0,
`global_every`, ..., and half a window to each side in the others, which turn positions with another base.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmpipe.models.heads import EmbeddingHead, Head, LanguageHead, SequenceHead
from lmpipe.models.layers.bidirectional import FullAttention, segment_mask
from lmpipe.models.layers.encoder_heads import LanguagePrediction, PooledVector, TransformedPrediction
from lmpipe.models.layers.feed_forward import FeedForward
from lmpipe.models.layers.initial import initialise
from lmpipe.models.layers.rotary import rotary_table
from lmpipe.models.modernbert.config import LOCAL_THETA, ModernBertConfig
from lmpipe.models.network import Encoder, check_length


class Block(nn.Module):
    """One layer."""

    def __init__(self, config: ModernBertConfig, *, first: bool) -> None:
        super().__init__()
        self.attention_norm = nn.Identity() if first else nn.LayerNorm(config.width, eps=config.norm_eps, bias=False)
        self.attention = FullAttention(config.width, config.heads, bias=False)
        self.feed_forward_norm = nn.LayerNorm(config.width, eps=config.norm_eps, bias=False)
        self.feed_forward = FeedForward(config.width, config.feed_forward_width, "gelu")
        self.dropout = config.dropout

    def forward(self, x_BTC: Tensor, mask: Tensor | None, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        attended = self.attention(self.attention_norm(x_BTC), mask, cos_TD, sin_TD)
        x_BTC = x_BTC + F.dropout(attended, self.dropout, self.training)
        return x_BTC + F.dropout(self.feed_forward(self.feed_forward_norm(x_BTC)), self.dropout, self.training)


class ModernBert(Encoder):
    """An encoder in the ModernBERT layout, with one head."""

    global_TD: Tensor
    local_TD: Tensor

    def __init__(self, config: ModernBertConfig, vocab_size: int, head: Head) -> None:
        super().__init__()
        self.config: ModernBertConfig = config
        self.vocab_size, self.head_config = vocab_size, head
        self.embedding = nn.Embedding(vocab_size, config.width)
        self.embedding_norm = nn.LayerNorm(config.width, eps=config.norm_eps, bias=False)
        self.blocks = nn.ModuleList(Block(config, first=number == 0) for number in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps, bias=False)
        self.head = _make_head(config, vocab_size, head)
        if isinstance(self.head, LanguagePrediction):
            self.head.decoder.weight = self.embedding.weight
        self.materialise()
        initialise(self, config.layers, ("attention.out.weight", "feed_forward.down.weight"))

    def hidden(self, ids_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """The last hidden states (B, T, C).

        Raises:
            ModelError: when the text is longer than the position table.
        """
        positions = ids_BT.shape[1]
        check_length(positions, self.config.context)
        x_BTC = F.dropout(self.embedding_norm(self.embedding(ids_BT)), self.config.dropout, self.training)
        far = segment_mask(segments_BT, positions, ids_BT.device), self.global_TD[:, :positions].to(x_BTC.dtype)
        near_mask = segment_mask(segments_BT, positions, ids_BT.device, self.config.local_window // 2)
        near = near_mask, self.local_TD[:, :positions].to(x_BTC.dtype)
        for number, block in enumerate(self.blocks):
            mask, turns = near if number % self.config.global_every else far
            x_BTC = block(x_BTC, mask, turns[0], turns[1])
        result: Tensor = self.norm(x_BTC)
        return result

    def materialise(self, device: str | None = None) -> None:
        """Compute the rotary tables, on `device`; cosines and sines are their first and second rows."""
        for name, theta in (("global_TD", self.config.rope_theta), ("local_TD", LOCAL_THETA)):
            table = rotary_table(self.config.width // self.config.heads, self.config.context, theta)
            stacked = torch.stack(table)
            self.register_buffer(name, stacked.to(device) if device else stacked, persistent=False)


def _make_head(config: ModernBertConfig, vocab_size: int, head: Head) -> nn.Module:
    if isinstance(head, LanguageHead):
        return LanguagePrediction(config.width, vocab_size, config.norm_eps, bias=False)
    if isinstance(head, EmbeddingHead):
        return PooledVector(head.pooling)
    first_only = isinstance(head, SequenceHead)
    return TransformedPrediction(config.width, len(head.labels), config.norm_eps, config.dropout, first_only=first_only)


def build(config: ModernBertConfig, vocab_size: int, head: Head) -> ModernBert:
    """As `families.build`."""
    return ModernBert(config, vocab_size, head)
