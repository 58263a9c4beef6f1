"""A running average of the weights (Polyak and Juditsky 1992): validated, kept as the best, and saved, in place of the last.

average <- d average + (1 - d) weights,   d = min(decay, (1 + t) / (10 + t)) after t updates, so that the start is forgotten
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from lmpipe.training.optimizers import MasterOptimizer

PREFIX = "average."


class Average:
    """The average of an optimiser's masters."""

    def __init__(self, optimizer: MasterOptimizer, decay: float) -> None:
        self.optimizer, self.decay = optimizer, decay
        self.updates = 0
        self.values = {name: master.clone() for name, master in optimizer.masters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """After an update of the masters."""
        kept = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        masters = [self.optimizer.masters[name] for name in self.values]
        torch._foreach_lerp_(list(self.values.values()), masters, 1.0 - kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model computes with the average; afterwards with the masters again."""
        masters = self.optimizer.masters
        kept = {name: master.clone() for name, master in masters.items()}
        self._put(self.values)
        try:
            yield
        finally:
            self._put(kept)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint needs."""
        return {PREFIX + name: self.optimizer.whole(name, value) for name, value in self.values.items()}

    def restore(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        """The inverse of `tensors`."""
        self.updates = updates
        for name, value in self.values.items():
            value.copy_(self.optimizer.mine(tensors[PREFIX + name]))

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, master in self.optimizer.masters.items():
            master.copy_(values[name])
        self.optimizer.publish()
