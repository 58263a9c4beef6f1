"""How far the random draws of dropout are: those of the processor, and those of the GPU that a model is trained on."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def random_state(device: str | torch.device) -> dict[str, Tensor]:
    """By kind of device, in the processor's memory; on the processor there is one kind alone."""
    state = {"cpu": torch.get_rng_state()}
    if torch.device(device).type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: str | torch.device) -> None:
    """The inverse of `random_state`. What was taken on another kind of device is passed over."""
    torch.set_rng_state(state["cpu"])
    if torch.device(device).type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
