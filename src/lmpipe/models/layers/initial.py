"""First weights, as in GPT-2 (Radford et al. 2019, section 2.3): small, and smaller on the way back into the residual
stream."""

from __future__ import annotations

import torch
from torch import nn

INITIAL_DEVIATION = 0.02
"""Standard deviation of initial weights; projections back into the residual stream get it over sqrt(2 layers)."""


@torch.no_grad()
def initialise(network: nn.Module, layers: int, back_into_residual: tuple[str, ...]) -> None:
    """Draw every matrix anew from torch's default generator; biases become zero, norms stay ones.

    Args:
        network: its parameters are changed, in the order of their names' registration.
        layers: blocks with two additions to the residual stream each.
        back_into_residual: ends of the names of matrices that write into it.
    """
    for name, parameter in network.named_parameters():
        if parameter.ndim >= 2:
            smaller = (2 * layers) ** -0.5 if name.endswith(back_into_residual) else 1.0
            nn.init.normal_(parameter, std=INITIAL_DEVIATION * smaller)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
