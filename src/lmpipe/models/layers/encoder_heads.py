"""What encoders make of their hidden states: tokens, one label or one vector for a text, or a label for each token.

Two layouts differ in a few places: BERT's (biases everywhere, tanh over the first position) and ModernBERT's (no biases but the
last one's, the same GELU transform below every head).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmpipe.models.heads import Pooling
from lmpipe.models.network import Encoder


def at_places(network: Encoder, ids_BT: Tensor, segments_BT: Tensor, places_BK: Tensor) -> Tensor:
    """Logits (B, K, labels) of the texts that begin at `places_BK`, several to a row, from a head for whole texts."""
    hidden_BTC = network.hidden(ids_BT, segments_BT)
    rows, places = places_BK.shape
    picked_BKC = hidden_BTC.gather(1, places_BK[..., None].expand(-1, -1, hidden_BTC.shape[-1]))
    logits: Tensor = network.head(picked_BKC.reshape(rows * places, 1, -1))
    return logits.view(rows, places, -1)


def embeddings(network: Encoder, ids_BT: Tensor, segments_BT: Tensor, texts: int) -> Tensor:
    """Vectors (B, K, C) of length 1, in fp32, of the `texts` texts that may stand in a row; zeros where there is none.

    A head for whole texts that pools says how; of any other network it is the mean.
    """
    pool = network.head if isinstance(network.head, PooledVector) else PooledVector("mean")
    return F.normalize(pool(network.states(ids_BT, segments_BT), segments_BT, texts), dim=-1)


class PooledVector(nn.Module):
    """One vector for each text of a row: the mean over its positions, or what stands at its first one."""

    def __init__(self, pooling: Pooling) -> None:
        super().__init__()
        self.pooling = pooling

    def forward(self, x_BTC: Tensor, segments_BT: Tensor | None = None, texts: int = 1) -> Tensor:
        """(B, T, C) to (B, K, C) in fp32: of the segments from 0 up to `texts`; without segments a row is one text."""
        if segments_BT is None:
            segments_BT = torch.zeros(x_BTC.shape[:2], dtype=torch.long, device=x_BTC.device)
        if self.pooling == "cls":
            before_BT = F.pad(segments_BT[:, :-1], (1, 0), value=-2)
            segments_BT = segments_BT.masked_fill(segments_BT == before_BT, -1)
        numbers_K1 = torch.arange(texts, device=x_BTC.device)[:, None]
        there_BKT = (segments_BT[:, None] == numbers_K1).float()
        return there_BKT @ x_BTC.float() / there_BKT.sum(-1, keepdim=True).clamp(min=1)


class Transform(nn.Module):
    """norm(gelu(dense(x)))."""

    def __init__(self, width: int, norm_eps: float, *, bias: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width, bias=bias)
        self.norm = nn.LayerNorm(width, eps=norm_eps, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        result: Tensor = self.norm(F.gelu(self.dense(x)))
        return result


class LanguagePrediction(nn.Module):
    """Logits over the vocabulary; `decoder.weight` may be the embedding."""

    def __init__(self, width: int, vocab_size: int, norm_eps: float, *, bias: bool) -> None:
        super().__init__()
        self.transform = Transform(width, norm_eps, bias=bias)
        self.decoder = nn.Linear(width, vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., V)."""
        logits: Tensor = self.decoder(self.transform(x))
        return logits


class PooledPrediction(nn.Module):
    """Logits over labels from the first position, through a tanh layer."""

    def __init__(self, width: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.out = nn.Linear(width, labels)
        self.dropout = dropout

    def forward(self, x_BTC: Tensor) -> Tensor:
        """(B, T, C) to (B, labels)."""
        pooled_BC = torch.tanh(self.dense(x_BTC[:, 0]))
        logits: Tensor = self.out(F.dropout(pooled_BC, self.dropout, self.training))
        return logits


class TokenPrediction(nn.Module):
    """Logits over labels at every position."""

    def __init__(self, width: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.out = nn.Linear(width, labels)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., labels)."""
        logits: Tensor = self.out(F.dropout(x, self.dropout, self.training))
        return logits


class TransformedPrediction(nn.Module):
    """Logits over labels through the same transform as the language head's; from the first position, or from every one."""

    def __init__(self, width: int, labels: int, norm_eps: float, dropout: float, *, first_only: bool) -> None:
        super().__init__()
        self.transform = Transform(width, norm_eps, bias=False)
        self.out = nn.Linear(width, labels)
        self.dropout, self.first_only = dropout, first_only

    def forward(self, x_BTC: Tensor) -> Tensor:
        """(B, T, C) to (B, labels), or (B, T, labels)."""
        x = self.transform(x_BTC[:, 0] if self.first_only else x_BTC)
        logits: Tensor = self.out(F.dropout(x, self.dropout, self.training))
        return logits
