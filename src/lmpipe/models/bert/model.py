"""The BERT layout for one device, in one reading: tokens, positions and types, then blocks with norms after them, then a head.

    ids_BT > norm(embedding + positions + type) > [ norm(x + attention(x)) > norm(x + feed_forward(x)) ] x layers > head

B rows, T positions, C width. Positions count from the beginning of each segment. The second text type is never used.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lmpipe.models.bert.config import ROBERTA_OFFSET, BertConfig
from lmpipe.models.heads import EmbeddingHead, Head, LanguageHead, SequenceHead
from lmpipe.models.layers.bidirectional import FullAttention, segment_mask
from lmpipe.models.layers.encoder_heads import LanguagePrediction, PooledPrediction, PooledVector, TokenPrediction
from lmpipe.models.layers.feed_forward import PlainFeedForward
from lmpipe.models.layers.initial import initialise
from lmpipe.models.layers.positions import positions_of
from lmpipe.models.network import Encoder, check_length


class Block(nn.Module):
    """One layer."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = FullAttention(config.width, config.heads, bias=True)
        self.attention_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.feed_forward = PlainFeedForward(config.width, config.feed_forward_width, "gelu")
        self.feed_forward_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.dropout = config.dropout

    def forward(self, x_BTC: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        attended = F.dropout(self.attention(x_BTC, mask), self.dropout, self.training)
        x_BTC = self.attention_norm(x_BTC + attended)
        fed = F.dropout(self.feed_forward(x_BTC), self.dropout, self.training)
        result: Tensor = self.feed_forward_norm(x_BTC + fed)
        return result


class Bert(Encoder):
    """An encoder in the BERT or RoBERTa layout, with one head."""

    def __init__(self, config: BertConfig, vocab_size: int, head: Head) -> None:
        super().__init__()
        self.config: BertConfig = config
        self.vocab_size, self.head_config = vocab_size, head
        self.embedding = nn.Embedding(vocab_size, config.width)
        self.positions = nn.Embedding(config.position_rows, config.width)
        self.types = nn.Embedding(config.token_types, config.width)
        self.embedding_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.head = _make_head(config, vocab_size, head)
        if isinstance(self.head, LanguagePrediction):
            self.head.decoder.weight = self.embedding.weight
        initialise(self, config.layers, ())

    def hidden(self, ids_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """The last hidden states (B, T, C).

        Raises:
            ModelError: when the text is longer than the position table.
        """
        check_length(ids_BT.shape[1], self.config.context)
        offset = ROBERTA_OFFSET if self.config.layout == "roberta" else 0
        places = self.positions(positions_of(ids_BT, segments_BT) + offset)
        embedded_BTC = self.embedding_norm(self.embedding(ids_BT) + self.types.weight[0] + places)
        x_BTC: Tensor = F.dropout(embedded_BTC, self.config.dropout, self.training)
        mask = segment_mask(segments_BT, ids_BT.shape[1], ids_BT.device)
        for block in self.blocks:
            x_BTC = block(x_BTC, mask)
        return x_BTC


def _make_head(config: BertConfig, vocab_size: int, head: Head) -> nn.Module:
    if isinstance(head, LanguageHead):
        return LanguagePrediction(config.width, vocab_size, config.norm_eps, bias=True)
    if isinstance(head, EmbeddingHead):
        return PooledVector(head.pooling)
    if isinstance(head, SequenceHead):
        return PooledPrediction(config.width, len(head.labels), config.dropout)
    return TokenPrediction(config.width, len(head.labels), config.dropout)


def build(config: BertConfig, vocab_size: int, head: Head) -> Bert:
    """As `families.build`."""
    return Bert(config, vocab_size, head)
