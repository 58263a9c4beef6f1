"""Causal self-attention with grouped keys and values, borders between documents, prefixes that are read both ways, a window,
and a cache for generation.

Shapes: B rows, T positions, H heads, K key/value heads (H a multiple of K), D head width, S positions in the cache.
Queries, keys and values are one matrix here and three on disk: one product is faster than three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from lmpipe.models.layers.norm import RMSNorm
from lmpipe.models.layers.rotary import rotate

PRODUCTS_CONTEXT = 1024
"""Up to this many positions training on a CPU spells attention out as products. Compiled, forward and backward took 33 ms
for 32 rows, 4 heads, 256 positions, width 64 in bf16 (Zen 4, 2 threads), where torch 2.13's fused kernel took 73 ms; and a
mask between documents costs next to nothing. Memory grows with the square of the positions: longer contexts use the kernel."""

Mask = Tensor | BlockMask
"""Where a query may look: a dense tensor of booleans, or the blocks of FlexAttention (Dong et al. 2024)."""


@dataclass
class Cache:
    """Keys and values of one layer for the positions seen so far."""

    keys_BKSD: Tensor
    values_BKSD: Tensor
    length: int = 0
    padding_B: Tensor | None = None

    def append(self, keys_BKTD: Tensor, values_BKTD: Tensor) -> tuple[Tensor, Tensor]:
        """Store new positions; all positions so far come back."""
        stop = self.length + keys_BKTD.shape[2]
        self.keys_BKSD[:, :, self.length : stop] = keys_BKTD
        self.values_BKSD[:, :, self.length : stop] = values_BKTD
        self.length = stop
        return self.keys_BKSD[:, :, :stop], self.values_BKSD[:, :, :stop]

    def take(self, rows: Tensor, drop: int, room: int) -> Cache:
        """As `network.TextCache.take`."""
        length = self.length - drop
        keys_BKSD, values_BKSD = (
            part_BKSD.new_empty(len(rows), part_BKSD.shape[1], room, part_BKSD.shape[3])
            for part_BKSD in (self.keys_BKSD, self.values_BKSD)
        )
        keys_BKSD[:, :, :length] = self.keys_BKSD[rows, :, drop : self.length]
        values_BKSD[:, :, :length] = self.values_BKSD[rows, :, drop : self.length]
        return Cache(keys_BKSD, values_BKSD, length)

    def join(self, others: Sequence[Cache], room: int) -> Cache:
        """As `network.TextCache.join`."""
        caches = (self, *others)
        length, rows = max(cache.length for cache in caches), sum(len(cache.keys_BKSD) for cache in caches)
        _, heads, _, width = self.keys_BKSD.shape
        # zeros, because a weight of 0 times what stands in fresh memory may be no number
        keys_BKSD, values_BKSD = (self.keys_BKSD.new_zeros(rows, heads, room, width) for _ in range(2))
        first = 0
        for cache in caches:
            last, start = first + len(cache.keys_BKSD), length - cache.length
            keys_BKSD[first:last, :, start:length] = cache.keys_BKSD[:, :, : cache.length]
            values_BKSD[first:last, :, start:length] = cache.values_BKSD[:, :, : cache.length]
            first = last
        return Cache(keys_BKSD, values_BKSD, length)


class Attention(nn.Module):
    """softmax(q k^T / sqrt(D)) v over the positions up to one's own."""

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int,
        *,
        head_width: int | None = None,
        qkv_bias: bool = False,
        out_bias: bool = False,
        qk_norm_eps: float | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_width = heads, kv_heads, head_width or width // heads
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * self.head_width, bias=qkv_bias)
        self.out = nn.Linear(heads * self.head_width, width, bias=out_bias)
        self.q_norm = RMSNorm(self.head_width, qk_norm_eps) if qk_norm_eps is not None else None
        self.k_norm = RMSNorm(self.head_width, qk_norm_eps) if qk_norm_eps is not None else None

    def forward(
        self,
        x_BTC: Tensor,
        cos_TD: Tensor | None,
        sin_TD: Tensor | None,
        mask: Mask | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """(B, T, C) to (B, T, C).

        Args:
            x_BTC: normalised residual stream.
            cos_TD: rotary cosines of these positions; None where positions are in the stream already.
            sin_TD: rotary sines of these positions.
            mask: True where a query may look, broadcastable to (B, H, T, S), or its blocks; None: plain causal order.
            cache: takes and gives keys and values of earlier positions.
        """
        rows, positions, _ = x_BTC.shape
        qkv = self.qkv(x_BTC).view(rows, positions, self.heads + 2 * self.kv_heads, self.head_width).transpose(1, 2)
        q, k, v = qkv.split((self.heads, self.kv_heads, self.kv_heads), dim=1)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if cos_TD is not None and sin_TD is not None:
            q, k = rotate(q, cos_TD, sin_TD), rotate(k, cos_TD, sin_TD)
        if cache is not None:
            k, v = cache.append(k, v)
        if isinstance(mask, BlockMask):
            mixed = by_blocks(q, k, v, mask)
        elif self._fits_products(positions, q.device):
            mixed = _by_products(q, k, v, mask)
        else:
            mixed = self._fused(q, k, v, mask)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(rows, positions, -1))
        return result

    def _fits_products(self, positions: int, device: torch.device) -> bool:
        return self.training and device.type == "cpu" and positions <= PRODUCTS_CONTEXT

    def _fused(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        causal = mask is None and q.shape[2] > 1
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=self.kv_heads != self.heads)


def _by_products(q_BHTD: Tensor, k_BKTD: Tensor, v_BKTD: Tensor, mask: Tensor | None) -> Tensor:
    """Attention as two matrix products around a softmax in fp32."""
    groups = q_BHTD.shape[1] // k_BKTD.shape[1]
    if groups > 1:
        k_BKTD, v_BKTD = k_BKTD.repeat_interleave(groups, dim=1), v_BKTD.repeat_interleave(groups, dim=1)
    if mask is None:
        positions = q_BHTD.shape[2]
        mask = torch.ones(positions, positions, dtype=torch.bool, device=q_BHTD.device).tril()
    scores_BHTT = (q_BHTD @ k_BKTD.transpose(-1, -2)).float() * q_BHTD.shape[-1] ** -0.5
    weights_BHTT = torch.softmax(scores_BHTT.masked_fill(~mask, -torch.inf), dim=-1)
    return weights_BHTT.to(v_BKTD.dtype) @ v_BKTD


def by_blocks(q_BHTD: Tensor, k_BKTD: Tensor, v_BKTD: Tensor, mask: BlockMask) -> Tensor:
    """Attention that leaves out blocks in which no query may look; compiled, one kernel, and no mask in memory."""
    found = flex_attention(q_BHTD, k_BKTD, v_BKTD, block_mask=mask, enable_gqa=k_BKTD.shape[1] != q_BHTD.shape[1])
    assert isinstance(found, Tensor), "nothing else was asked for"
    return found


def packed_mask(segments_BT: Tensor, window: int | None = None) -> Mask:
    """Of rows that hold several documents: blocks where a step is compiled for a GPU, dense elsewhere.

    Uncompiled, FlexAttention computes all scores, and on a CPU it has no backward pass.
    """
    if segments_BT.device.type == "cuda" and torch.compiler.is_compiling():
        return document_blocks(segments_BT, window)
    return document_mask(segments_BT, window)


def document_blocks(segments_BT: Tensor, window: int | None = None) -> BlockMask:
    """As `document_mask`, as blocks of FlexAttention."""
    rows, positions = segments_BT.shape

    def may_look(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        seen = (query >= key) & (segments_BT[row, query] == segments_BT[row, key])
        return seen if window is None else seen & (query - key < window)

    return create_block_mask(may_look, rows, None, positions, positions, device=segments_BT.device.type)


def attention_mask(
    ids_BT: Tensor,
    segments_BT: Tensor | None,
    prefix_BT: Tensor | None,
    start: int,
    window: int | None = None,
    padding_B: Tensor | None = None,
) -> Mask | None:
    """What a decoder's queries may see, as its `hidden` is asked (`models/network.py`): `start` positions are in the cache, the
    first `padding_B` of each row are none of its text."""
    if segments_BT is None and prefix_BT is None:
        return cached_mask(start, ids_BT.shape[1], ids_BT.device, window, padding_B)
    assert prefix_BT is None or (start == 0 and padding_B is None), "a prefix is the beginning of a text"
    if segments_BT is not None and prefix_BT is None:
        return packed_mask(segments_BT, window)
    return document_mask(torch.zeros_like(ids_BT) if segments_BT is None else segments_BT, window, prefix_BT)


def document_mask(segments_BT: Tensor, window: int | None = None, prefix_BT: Tensor | None = None) -> Tensor:
    """(B, 1, T, T), True where a query may look: not ahead, but for a position of its document's prefix, not across a border
    between documents, not beyond the window."""
    same = segments_BT[:, None, :, None] == segments_BT[:, None, None, :]
    if prefix_BT is None:
        return _in_window(same.tril(), 0, window)
    seen = _in_window(same & (torch.ones_like(same).tril() | prefix_BT[:, None, None, :]), 0, window)
    return seen if window is None else seen.tril(diagonal=window - 1)


def cached_mask(
    start: int, positions: int, device: torch.device, window: int | None = None, padding_B: Tensor | None = None
) -> Tensor | None:
    """(T, S), with padding (B, 1, T, S), for `positions` new queries after `start` cached ones; None where plain causal order
    or a single query says it."""
    beyond = window is not None and start + positions > window
    if padding_B is None and not beyond and (start == 0 or positions == 1):
        return None
    seen = torch.ones(positions, start + positions, dtype=torch.bool, device=device).tril(diagonal=start)
    seen = _in_window(seen, start, window)
    if padding_B is None:
        return seen
    text_BS = torch.arange(start + positions, device=device) >= padding_B[:, None]
    itself = torch.ones_like(seen).triu(diagonal=start).tril(diagonal=start)  # so that padding, too, has something to see
    return seen & text_BS[:, None, None, :] | itself


def _in_window(mask: Tensor, start: int, window: int | None) -> Tensor:
    return mask if window is None else mask.triu(diagonal=start - window + 1)
