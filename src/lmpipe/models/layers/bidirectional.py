"""Self-attention that sees a whole text: no order is kept but what positions say. For encoders.

B rows, T positions, C width, H heads, D head width. Queries, keys and values are one matrix here, and one or three on disk.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmpipe.models.layers.attention import PRODUCTS_CONTEXT
from lmpipe.models.layers.rotary import rotate


class FullAttention(nn.Module):
    """softmax(q k^T / sqrt(D)) v over all positions that the mask leaves."""

    def __init__(self, width: int, heads: int, *, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, x_BTC: Tensor, mask: Tensor | None, cos_TD: Tensor | None = None, sin_TD: Tensor | None = None) -> Tensor:
        """(B, T, C) to (B, T, C).

        Args:
            x_BTC: the residual stream.
            mask: True where a query may look, broadcastable to (B, H, T, T); None: everywhere.
            cos_TD: rotary cosines; None where positions are in the stream already.
            sin_TD: rotary sines.
        """
        rows, positions, width = x_BTC.shape
        q, k, v = self.qkv(x_BTC).view(rows, positions, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if cos_TD is not None and sin_TD is not None:
            q, k = rotate(q, cos_TD, sin_TD), rotate(k, cos_TD, sin_TD)
        if self.training and x_BTC.device.type == "cpu" and positions <= PRODUCTS_CONTEXT:
            mixed = _by_products(q, k, v, mask)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(rows, positions, width))
        return result


def _by_products(q_BHTD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor, mask: Tensor | None) -> Tensor:
    """Two matrix products around a softmax in fp32: see `attention.PRODUCTS_CONTEXT` for why."""
    scores_BHTT = (q_BHTD @ k_BHTD.transpose(-1, -2)).float() * q_BHTD.shape[-1] ** -0.5
    if mask is not None:
        scores_BHTT = scores_BHTT.masked_fill(~mask, -torch.inf)
    return torch.softmax(scores_BHTT, dim=-1).to(v_BHTD.dtype) @ v_BHTD


def segment_mask(segments_BT: Tensor | None, positions: int, device: torch.device, reach: int | None = None) -> Tensor | None:
    """True where a position may look at another, broadcastable to (B, 1, T, T); None where it may everywhere.

    Args:
        segments_BT: a position sees its own segment only; None: all of a row is one.
        positions: T.
        device: where the mask is made, without segments.
        reach: how far it looks to either side; None: all the way.
    """
    mask = None if segments_BT is None else segments_BT[:, None, :, None] == segments_BT[:, None, None, :]
    if reach is None or positions <= reach + 1:
        return mask
    near = torch.ones(positions, positions, dtype=torch.bool, device=device).triu(-reach).tril(reach)
    return near if mask is None else mask & near
