"""Feed-forwards: gated (SwiGLU, GEGLU; Shazeer 2020), where gate and up projection are one matrix here, and plain."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["silu", "gelu", "gelu_tanh"]
"""`gelu_tanh` is the approximation that GPT-2 and T5 use (`gelu_new`)."""


def activate(x: Tensor, activation: Activation) -> Tensor:
    """The activation, element by element."""
    if activation == "silu":
        return F.silu(x)
    return F.gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")


class FeedForward(nn.Module):
    """down(activation(gate(x)) * up(x))."""

    def __init__(self, width: int, inner: int, activation: Activation = "silu") -> None:
        super().__init__()
        self.activation: Activation = activation
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        result: Tensor = self.down(activate(gate, self.activation) * up)
        return result


class PlainFeedForward(nn.Module):
    """down(activation(up(x))) with biases."""

    def __init__(self, width: int, inner: int, activation: Activation) -> None:
        super().__init__()
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)
        self.activation: Activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        result: Tensor = self.down(activate(self.up(x), self.activation))
        return result
