"""Gated feed-forward (SwiGLU, Shazeer 2020). Gate and up projection are one matrix here and two on disk."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class FeedForward(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        result: Tensor = self.down(F.silu(gate) * up)
        return result


class PlainFeedForward(nn.Module):
    """down(gelu(up(x))) with biases: GPT-2's (`tanh` approximation of the GELU) and BERT's (exact)."""

    def __init__(self, width: int, inner: int, *, approximate: str) -> None:
        super().__init__()
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        result: Tensor = self.down(F.gelu(self.up(x), approximate=self.approximate))
        return result
