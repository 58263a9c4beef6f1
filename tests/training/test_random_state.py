"""Draws go on where they were, on the processor and on a GPU."""

from __future__ import annotations

import pytest
import torch

from lmpipe.training.random_state import random_state, set_random_state

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")),
]


@pytest.mark.parametrize("device", DEVICES)
def test_draws_are_repeated(device: str) -> None:
    before = random_state(device)
    drawn = torch.rand(3), torch.rand(3, device=device)
    set_random_state(before, device)
    assert all(
        torch.equal(again, first) for again, first in zip((torch.rand(3), torch.rand(3, device=device)), drawn, strict=True)
    )
    assert all(state.device.type == "cpu" for state in before.values())


def test_a_state_of_a_gpu_goes_on_where_there_is_none() -> None:
    before = random_state("cpu")
    drawn = torch.rand(3)
    set_random_state({**before, "cuda": torch.zeros(16, dtype=torch.uint8)}, "cpu")
    assert torch.equal(torch.rand(3), drawn)
