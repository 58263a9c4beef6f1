"""Everything that changes while training, in one place: what a checkpoint must hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lmpipe.models.network import Network
from lmpipe.training.averaging import Average
from lmpipe.training.checkpoint import Checkpoint
from lmpipe.training.optimizers import MasterOptimizer
from lmpipe.training.random_state import random_state, set_random_state
from lmpipe.training.ranks import ALONE, Ranks
from lmpipe.training.scaling import LossScale
from lmpipe.training.sparsity import Sparsity

BEST = "best."
RANDOM_STATE = "random_state"


class WholeWeights(NamedTuple):
    """By name, in fp32: those that never learned, the last ones, and the best ones of those that did."""

    frozen: dict[str, Tensor]
    last: dict[str, Tensor]
    best: dict[str, Tensor]


@dataclass
class TrainingState:
    """The model, its optimiser, and how far they are."""

    model: Network
    optimizer: MasterOptimizer
    average: Average | None = None
    """Of the weights, where the phase asks for one."""
    sparsity: Sparsity | None = None
    """What prunes the weights, where the phase asks for it; where they are pruned, the optimiser holds."""
    scale: LossScale | None = None
    """Of the loss, in fp16."""
    step: int = 0
    """Optimiser steps done, skipped ones included."""
    position: int = 0
    """Batches read: the loader's whole state. More than `step` after a roll-back, which goes on behind the batch it met."""
    tokens: int = 0
    ranks: Ranks = ALONE
    """The processes that hold this state together: equal but for the random draws of dropout."""
    micro_rows: int = 0
    """Rows that go through the model at once."""
    anchor: int = -1
    """The step of the checkpoint to roll back to; -1: there is none."""
    incidents: int = 0
    """Steps that were skipped or rolled back."""
    best_step: int = 0
    best_tokens: int = 0
    best_loss: float | None = None
    """Validation loss of the best weights so far, nats per token."""
    best_accuracy: float | None = None
    """Their validation accuracy, where it decides."""
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    without_improvement: int = 0
    """Validations in a row that were not better."""
    stop_reason: str = ""
    curve: list[dict[str, Any]] = field(default_factory=list)
    """Rows of curve.jsonl: no clock."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """Rows of observed/samples.jsonl."""
    statistics: list[dict[str, Any]] = field(default_factory=list)
    """Rows of statistics.jsonl."""
    meters: list[dict[str, Any]] = field(default_factory=list)
    """Rows of observed/meters.jsonl."""
    seconds: float = 0.0
    """Time spent in steps, over all attempts."""

    def to_checkpoint(self) -> Checkpoint:
        """Weights, optimiser, average, every process's random state, best weights, and the numbers."""
        tensors = self.optimizer.tensors()
        for kind, own in random_state(self._device()).items():
            tensors |= {_random_state(rank, kind): state for rank, state in enumerate(self.ranks.gathered(own))}
        tensors |= {BEST + name: self.optimizer.whole(name, weight) for name, weight in self.best_weights.items()}
        numbers = {key: getattr(self, key) for key in NUMBERS}
        if self.average:
            tensors |= self.average.tensors()
            numbers["average_updates"] = self.average.updates
        if self.scale:
            numbers["loss_scale"] = self.scale.numbers()
        return Checkpoint(tensors, numbers)

    def restore(self, checkpoint: Checkpoint) -> None:
        """The inverse of `to_checkpoint`, on a state made from the same configuration, of any number of processes."""
        tensors, numbers = checkpoint
        self.optimizer.restore(tensors)
        best = {name.removeprefix(BEST): tensor for name, tensor in tensors.items() if name.startswith(BEST)}
        self.best_weights = {name: self.optimizer.mine(tensor) for name, tensor in best.items()}
        for key in NUMBERS:
            setattr(self, key, numbers[key])
        if self.average:
            self.average.restore(tensors, numbers["average_updates"])
        if self.scale:
            self.scale.restore(numbers["loss_scale"])
        names = {kind: _random_state(self.ranks.rank, kind) for kind in ("cpu", "cuda")}
        mine = {kind: tensors[name] for kind, name in names.items() if name in tensors}
        if mine:  # else there are more processes than before: it keeps its own
            set_random_state(mine, self._device())

    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    @contextmanager
    def weights_to_judge(self) -> Iterator[None]:
        """The model computes with what would be saved: the average where there is one."""
        if self.average is None:
            yield
        else:
            with self.average.in_place():
                yield

    def learned(self) -> dict[str, Tensor]:
        """The weights that learn, as they would be saved."""
        return self.average.values if self.average else self.optimizer.masters

    def to_save(self) -> WholeWeights:
        """The weights that a run ends with, in one piece each; all processes must ask for them."""
        kinds = (self.optimizer.frozen, self.learned(), self.best_weights)
        return WholeWeights(*({name: self.optimizer.whole(name, t) for name, t in kind.items()} for kind in kinds))

    def prune(self) -> None:
        """Prune where the next step asks for it. The best weights so far were less sparse: they do not count any more."""
        if self.sparsity and self.sparsity.prune_before(self.step, self.average):
            self.best_loss = self.best_accuracy = None
            self.best_weights = {}
            self.without_improvement = 0

    def note_validation(self, loss: float, accuracy: float | None, min_delta: float) -> None:
        """Remember the weights where they are the best so far: by accuracy where it is given, else by loss."""
        best = self.best_loss if accuracy is None else None if self.best_accuracy is None else -self.best_accuracy
        if best is None or (loss if accuracy is None else -accuracy) < best - min_delta:
            self.best_loss, self.best_accuracy = loss, accuracy
            self.best_step, self.best_tokens = self.step, self.tokens
            self.best_weights = {name: weight.detach().clone() for name, weight in self.learned().items()}
            self.without_improvement = 0
        else:
            self.without_improvement += 1


def _random_state(rank: int, kind: str) -> str:
    name = f"{RANDOM_STATE}.{rank}" if rank else RANDOM_STATE
    return name if kind == "cpu" else f"{name}.{kind}"


NUMBERS = (
    "step",
    "position",
    "tokens",
    "micro_rows",
    "anchor",
    "incidents",
    "best_step",
    "best_tokens",
    "best_loss",
    "best_accuracy",
    "without_improvement",
    "stop_reason",
    "curve",
    "samples",
    "statistics",
    "meters",
    "seconds",
)
