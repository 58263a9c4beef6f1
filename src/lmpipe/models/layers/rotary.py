"""Rotary positions (Su et al. 2021) in the Hugging Face layout: the first half of a head is turned against the second."""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_table(head_width: int, length: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each (length, head_width), fp32, on the CPU: position x frequency, the frequencies twice.

    On the CPU whatever the default device is: arithmetic on "meta" imports torch's compiler, which takes more than a second.
    """
    exponents = torch.arange(0, head_width, 2, dtype=torch.int64, device="cpu").float() / head_width
    angles_TE = torch.outer(torch.arange(length, dtype=torch.float32, device="cpu"), 1.0 / (theta**exponents))
    angles_TD = torch.cat((angles_TE, angles_TE), dim=-1)
    return angles_TD.cos(), angles_TD.sin()


def rotate(x_BHTD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
    """Turn each position's pairs by its angles."""
    first, second = x_BHTD.chunk(2, dim=-1)
    return x_BHTD * cos_TD + torch.cat((-second, first), dim=-1) * sin_TD
