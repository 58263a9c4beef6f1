"""Everything that changes while training, in one place: what a checkpoint must hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lmpipe.models.llama.model import Llama
from lmpipe.training.checkpoint import Checkpoint
from lmpipe.training.optimizers import MasterOptimizer

BEST = "best."
RANDOM_STATE = "random_state"


@dataclass
class TrainingState:
    """The model, its optimiser, and how far they are."""

    model: Llama
    optimizer: MasterOptimizer
    step: int = 0
    """Optimiser steps done; also the loader's position."""
    tokens: int = 0
    best_step: int = 0
    best_tokens: int = 0
    best_loss: float | None = None
    """Lowest validation loss so far, nats per token."""
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    without_improvement: int = 0
    """Validations in a row that were not better."""
    stop_reason: str = ""
    curve: list[dict[str, Any]] = field(default_factory=list)
    """Rows of curve.jsonl: no clock."""
    meters: list[dict[str, Any]] = field(default_factory=list)
    """Rows of observed/meters.jsonl."""
    seconds: float = 0.0
    """Time spent in steps, over all attempts."""

    def to_checkpoint(self) -> Checkpoint:
        """Weights, optimiser, random state, best weights, and the numbers."""
        tensors = {**self.optimizer.tensors(), RANDOM_STATE: torch.get_rng_state()}
        tensors |= {BEST + name: weight for name, weight in self.best_weights.items()}
        numbers = {key: getattr(self, key) for key in NUMBERS}
        return Checkpoint(tensors, numbers)

    def restore(self, checkpoint: Checkpoint) -> None:
        """The inverse of `to_checkpoint`, on a state made from the same configuration."""
        tensors, numbers = checkpoint
        self.optimizer.restore(tensors)
        self.best_weights = {name.removeprefix(BEST): t for name, t in tensors.items() if name.startswith(BEST)}
        for key in NUMBERS:
            setattr(self, key, numbers[key])
        torch.set_rng_state(tensors[RANDOM_STATE])

    def note_validation(self, loss: float, min_delta: float) -> None:
        """Remember the weights where they are the best so far."""
        if self.best_loss is None or loss < self.best_loss - min_delta:
            self.best_loss, self.best_step, self.best_tokens = loss, self.step, self.tokens
            self.best_weights = {name: weight.detach().clone() for name, weight in self.optimizer.weights().items()}
            self.without_improvement = 0
        else:
            self.without_improvement += 1


NUMBERS = (
    "step",
    "tokens",
    "best_step",
    "best_tokens",
    "best_loss",
    "without_improvement",
    "stop_reason",
    "curve",
    "meters",
    "seconds",
)
