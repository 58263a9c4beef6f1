"""T5's attention: no scale, no positions in the stream, a bias for each distance; over itself or over a source.

B rows, T positions, S positions looked at, C width, H heads, D head width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmpipe.models.layers.attention import Cache


@dataclass
class LayerCache:
    """What one layer of the decoder remembers: its own keys and values so far, and the source's. Several targets (beams) of one
    source, row after row, share the latter."""

    own: Cache
    source_keys_BHSD: Tensor
    source_values_BHSD: Tensor

    @property
    def length(self) -> int:
        """Target positions seen."""
        return self.own.length

    def select(self, rows: Tensor, sources: Tensor | None = None) -> LayerCache:
        """The cache of these target rows, in this order: beams that live on.

        Args:
            rows: as many for each source as before.
            sources: those that are still read; None: all.
        """
        length = self.own.length
        keys, values = self.own.keys_BKSD, self.own.values_BKSD
        if len(rows) == len(keys):  # only what is filled moves
            keys[:, :, :length], values[:, :, :length] = keys[rows, :, :length], values[rows, :, :length]
        else:
            keys, values = keys[rows], values[rows]
        own = Cache(keys, values, length)
        if sources is None:
            return LayerCache(own, self.source_keys_BHSD, self.source_values_BHSD)
        return LayerCache(own, self.source_keys_BHSD[sources], self.source_values_BHSD[sources])


class BiasedAttention(nn.Module):
    """softmax(q k^T + bias) v."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.q = nn.Linear(width, heads * head_width, bias=False)
        self.kv = nn.Linear(width, 2 * heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width, bias=False)

    def keys_and_values(self, x_BSC: Tensor) -> tuple[Tensor, Tensor]:
        """Two (B, H, S, D)."""
        rows, positions, _ = x_BSC.shape
        keys, values = self.kv(x_BSC).view(rows, positions, 2, self.heads, self.head_width).permute(2, 0, 3, 1, 4)
        return keys, values

    def forward(self, x_BTC: Tensor, keys_BHSD: Tensor, values_BHSD: Tensor, bias: Tensor | None) -> Tensor:
        """(B, T, C) to (B, T, C); `bias` is added to the scores and broadcastable to (B, H, T, S)."""
        rows, positions, _ = x_BTC.shape
        q_BHTD = self.q(x_BTC).view(rows, positions, self.heads, self.head_width).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q_BHTD, keys_BHSD, values_BHSD, attn_mask=bias, scale=1.0)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(rows, positions, -1))
        return result


class RelativeBias(nn.Module):
    """A learned bias for each head and distance; near distances one by one, far ones in logarithmic buckets."""

    def __init__(self, heads: int, buckets: int, max_distance: int, *, both_ways: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(buckets, heads)
        self.buckets, self.max_distance, self.both_ways = buckets, max_distance, both_ways

    def forward(self, start: int, stop: int) -> Tensor:
        """(1, H, T, S) for queries at positions `start` to `stop` and keys at 0 to `stop`."""
        places_S = torch.arange(stop, device=self.table.weight.device)
        distance_TS = places_S[None, :] - places_S[start:, None]
        bias: Tensor = self.table(self._bucket(distance_TS)).permute(2, 0, 1)[None]
        return bias

    def _bucket(self, distance: Tensor) -> Tensor:
        """As in Raffel et al. 2020, section 2.1: half of the buckets are exact, half logarithmic up to `max_distance`."""
        buckets = self.buckets // 2 if self.both_ways else self.buckets
        offset = (distance > 0).long() * buckets if self.both_ways else torch.zeros_like(distance)
        away = distance.abs() if self.both_ways else (-distance).clamp(min=0)
        exact = buckets // 2
        growth = torch.log(away.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        far = (exact + (growth * (buckets - exact)).long()).clamp(max=buckets - 1)
        return offset + torch.where(away < exact, away, far)


def hide(bias: Tensor | None, mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """`bias` with the lowest finite number where `mask` is False: a row that may look nowhere stays finite."""
    if mask is None:
        return None if bias is None else bias.to(dtype)
    hidden = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
    return hidden if bias is None else (bias.to(dtype) + hidden).clamp(min=torch.finfo(dtype).min)
