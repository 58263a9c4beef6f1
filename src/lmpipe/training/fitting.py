"""Less memory for a step: activations computed again, and fewer rows at once after the memory was not enough.

The effective batch stays as it was; a step in more parts rounds differently, so results are then equal but for rounding.
"""

from __future__ import annotations

from functools import partial

import torch
from torch.utils.checkpoint import checkpoint

from lmpipe.base.errors import TrainingError
from lmpipe.models.network import Network
from lmpipe.training.config import largest_divisor
from lmpipe.training.observation import blocks_of

MEMORY_MESSAGES = ("not enough memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")
"""How torch's CPU allocator and the C++ library say it, each in a RuntimeError."""


def recompute_activations(network: Network) -> None:
    """Keep only what enters each layer; the backward pass runs the layer again (Chen et al. 2016)."""
    for _, block in blocks_of(network):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory was not enough, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error).lower() for message in MEMORY_MESSAGES)


def fewer_rows(micro_rows: int, rows: int) -> int:
    """The next smaller number of rows at once that divides the batch, at most half.

    >>> fewer_rows(12, 24), fewer_rows(5, 15)
    (6, 1)

    Raises:
        TrainingError: when a single row is too much.
    """
    if micro_rows <= 1:
        raise TrainingError(
            "the memory is not enough for a single row",
            expected="room for one row's activations beside weights and optimiser",
            fix="set checkpoint_activations, shorten model.context, take a smaller model or an optimizer with less state",
        )
    return largest_divisor(rows, micro_rows // 2)


def whole_batch_too_large(phase: str, batch_tokens: int) -> TrainingError:
    """What is said where a batch whose rows are compared with each other finds no room."""
    return TrainingError(
        f"the memory is not enough for a batch of {batch_tokens:,} tokens at once, whose pairs are compared with each other",
        where=f"train.{phase}.batch_tokens",
        expected="room for its activations beside weights and optimiser",
        fix="set checkpoint_activations, or lower batch_tokens (each pair is then told from fewer others)",
    )
