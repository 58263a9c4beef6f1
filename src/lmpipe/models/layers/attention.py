"""Causal self-attention with grouped keys and values, borders between documents, and a cache for generation.

Shapes: B rows, T positions, H heads, K key/value heads (H a multiple of K), D head width, S positions in the cache.
Queries, keys and values are one matrix here and three on disk: one product is faster than three.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmpipe.models.layers.rotary import rotate


@dataclass
class Cache:
    """Keys and values of one layer for the positions seen so far."""

    keys_BKSD: Tensor
    values_BKSD: Tensor
    length: int = 0

    def append(self, keys_BKTD: Tensor, values_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        """Store new positions; all positions so far come back."""
        stop = self.length + keys_BKTD.shape[2]
        self.keys_BKSD[:, :, self.length : stop] = keys_BKTD
        self.values_BKSD[:, :, self.length : stop] = values_BKTD
        self.length = stop
        return self.keys_BKSD[:, :, :stop], self.values_BKSD[:, :, :stop]


class Attention(nn.Module):
    """softmax(q k^T / sqrt(D)) v over the positions up to one's own."""

    def __init__(self, width: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_width = heads, kv_heads, width // heads
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * self.head_width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self, x_BTC: Tensor, cos_TD: Tensor, sin_TD: Tensor, mask: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """(B, T, C) to (B, T, C).

        Args:
            x_BTC: normalised residual stream.
            cos_TD: rotary cosines of these positions.
            sin_TD: rotary sines of these positions.
            mask: True where a query may look, broadcastable to (B, H, T, S); None: plain causal order.
            cache: takes and gives keys and values of earlier positions.
        """
        rows, positions, _ = x_BTC.shape
        qkv = self.qkv(x_BTC).view(rows, positions, self.heads + 2 * self.kv_heads, self.head_width).transpose(1, 2)
        q, k, v = qkv.split((self.heads, self.kv_heads, self.kv_heads), dim=1)
        q, k = rotate(q, cos_TD, sin_TD), rotate(k, cos_TD, sin_TD)
        if cache is not None:
            k, v = cache.append(k, v)
        causal = mask is None and positions > 1
        mixed = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=self.kv_heads != self.heads
        )
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(rows, positions, -1))
        return result


def document_mask(segments_BT: Tensor) -> Tensor:
    """(B, 1, T, T), True where a query may look: not ahead, and not across a border between documents."""
    same = segments_BT[:, None, :, None] == segments_BT[:, None, None, :]
    return same.tril()


def cached_mask(start: int, positions: int, device: torch.device) -> Tensor | None:
    """(T, S) for `positions` new queries after `start` cached ones; None where plain causal order or a single query says it."""
    if start == 0 or positions == 1:
        return None
    return torch.ones(positions, start + positions, dtype=torch.bool, device=device).tril(diagonal=start)
