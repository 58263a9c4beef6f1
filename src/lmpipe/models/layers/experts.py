"""Mixture of experts: each token goes through the few feed-forwards that its router chooses, and none is dropped.

    router: softmax over experts, the best k, renormalised     (Jiang et al. 2024, Mixtral, section 2.1)
    experts: tokens sorted by expert, one grouped product      no capacity, no padding: "dropless" (Gale et al. 2023,
    MegaBlocks)

N tokens, C width, I inner width, E experts, k experts per token.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Routing(NamedTuple):
    """How one layer's router divided its tokens."""

    chosen_E: Tensor
    """Tokens that each expert got; k tokens' worth for each token."""
    probability_E: Tensor
    """Sum over tokens of the router's probability of each expert."""
    tokens: int


class Experts(nn.Module):
    """sum over the chosen experts of weight x down(silu(gate(x)) * up(x))."""

    def __init__(self, width: int, inner: int, experts: int, per_token: int) -> None:
        super().__init__()
        self.experts, self.per_token = experts, per_token
        self.router = nn.Linear(width, experts, bias=False)
        self.gate_up = nn.Parameter(torch.empty(experts, 2 * inner, width))
        self.down = nn.Parameter(torch.empty(experts, width, inner))
        self.routing: Routing | None = None
        """Of the last forward pass in training."""

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Same shape as `x_BTC`."""
        x_NC = x_BTC.reshape(-1, x_BTC.shape[-1])
        probability_NE = torch.softmax(self.router(x_NC).float(), dim=-1)
        weight_Nk, expert_Nk = torch.topk(probability_NE, self.per_token, dim=-1)
        weight_Nk = (weight_Nk / weight_Nk.sum(dim=-1, keepdim=True)).to(x_NC.dtype)
        chosen_NE = F.one_hot(expert_Nk, self.experts).sum(dim=1)
        self.routing = Routing(chosen_NE.sum(dim=0), probability_NE.sum(dim=0), len(x_NC)) if self.training else None
        order = torch.argsort(expert_Nk.flatten(), stable=True)
        ends_E = chosen_NE.sum(dim=0).cumsum(dim=0).to(torch.int32)
        gate, up = _grouped(x_NC[order // self.per_token], self.gate_up, ends_E).chunk(2, dim=-1)
        out = _grouped(F.silu(gate) * up, self.down, ends_E)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        mixed_NC = (out[back].view(len(x_NC), self.per_token, -1) * weight_Nk[..., None]).sum(dim=1)
        return mixed_NC.view(x_BTC.shape)


def _grouped(x: Tensor, weight: Tensor, ends_E: Tensor) -> Tensor:
    """Rows of `x` times the transposed matrix of their expert; expert e has the rows from where e - 1 ends to where e ends."""
    return (
        F.grouped_mm(x, weight.transpose(-1, -2), offs=ends_E) if x.dtype == torch.bfloat16 else _uncompiled(x, weight, ends_E)
    )


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _uncompiled(x: Tensor, weight: Tensor, ends_E: Tensor) -> Tensor:
    """torch 2.13 computes this product in fp32 but refuses to compile it: "Expected inputs of BF16 type"."""
    return F.grouped_mm(x, weight.transpose(-1, -2), offs=ends_E)


def balance_loss(routings: list[Routing]) -> Tensor:
    """How unevenly experts are used, over all layers; k when every expert gets as much (Fedus et al. 2021, equation 4).

    E x sum over experts of (share of the tokens it got) x (mean probability that the router gave it). Gradients flow through
    the probabilities alone.
    """
    tokens = sum(routing.tokens for routing in routings)
    chosen_E = torch.stack([routing.chosen_E for routing in routings]).sum(dim=0) / tokens
    probability_E = torch.stack([routing.probability_E for routing in routings]).sum(dim=0) / tokens
    return len(chosen_E) * (chosen_E * probability_E).sum()
