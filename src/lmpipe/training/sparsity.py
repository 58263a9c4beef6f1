"""Weights that are pruned: which ones, at which step. That they stay zero is the optimiser's part (`MasterOptimizer.pruned`).

    share after pruning i of n = final share x (1 - (1 - i/n)^3)        Zhu and Gupta 2017, equation 1, from a dense start

Hidden matrices alone are pruned. What is pruned stays so to the end of the phase; all of it is in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lmpipe.base.errors import TrainingError
from lmpipe.training.averaging import Average
from lmpipe.training.optimizers import MasterOptimizer
from lmpipe.training.sparsity_config import SparsityConfig, TwoFourConfig


class Sparsity:
    """The prunings of a phase of `steps` steps."""

    def __init__(self, config: SparsityConfig, names: list[str], optimizer: MasterOptimizer, steps: int) -> None:
        """Of the matrices `names`, which learn.

        Raises:
            TrainingError: when there are none, or their rows cannot be cut into fours.
        """
        if not names:
            raise TrainingError(
                "no hidden matrix learns, so none can be pruned",
                where="sparsity",
                expected="a model with matrices beside its embedding and head, not all of them frozen",
            )
        self.config, self.names, self.optimizer = config, names, optimizer
        self.shares = pruning_steps(config, steps)
        if isinstance(config, TwoFourConfig):
            for name in names:
                _check_fours(name, optimizer.masters[name])

    def prune_before(self, step: int, average: Average | None) -> bool:
        """Prune where step number `step` (from 0) asks for it, weights and their average; whether it did."""
        if step not in self.shares:
            return False
        masters = {name: self.optimizer.masters[name] for name in self.names}
        pruned = self.optimizer.pruned
        if isinstance(self.config, TwoFourConfig):
            found = {name: smallest_two_of_four(master) for name, master in masters.items()}
        elif self.config.scope == "global":
            found = smallest(masters, self.shares[step], pruned)
        else:
            found = {}
            for name, master in masters.items():
                found |= smallest({name: master}, self.shares[step], pruned)
        pruned.update(found)
        self.optimizer.hold()
        if average:
            for name, where in found.items():
                average.values[name].masked_fill_(where, 0.0)
        return True

    def is_done_at(self, step: int) -> bool:
        """Whether nothing more is pruned after `step` steps."""
        return step > max(self.shares)

    def facts(self) -> dict[str, Any]:
        """For training.json: what was pruned, of how many weights of hidden matrices."""
        zeros = sum(int(where.sum()) for where in self.optimizer.pruned.values())
        weights = sum(self.optimizer.masters[name].numel() for name in self.names)
        return {"kind": self.config.kind, "pruned": zeros, "of": weights, "share": zeros / weights}


def pruning_steps(config: SparsityConfig, steps: int) -> dict[int, float]:
    """Step number (from 0, always below `steps`) before which is pruned, and the share that is zero afterwards.

    >>> pruning_steps(MagnitudeConfig(share=0.8, end=0.5, times=2), 100)
    {25: 0.7000000000000001, 50: 0.8}
    """
    if isinstance(config, TwoFourConfig):
        return {min(round(config.start * steps), steps - 1): 0.5}
    shares = {}
    for number in range(1, config.times + 1):
        place = config.start + (config.end - config.start) * number / config.times
        left = 1 - number / config.times
        shares[min(round(place * steps), steps - 1)] = config.share * (1 - left**3)
    return shares


def smallest(matrices: Mapping[str, Tensor], share: float, pruned: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Where the smallest `share` of all weights of `matrices` together stand, those `pruned` before among them."""
    sizes = [_sizes(matrix, pruned.get(name)).flatten() for name, matrix in matrices.items()]
    together = torch.cat(sizes)
    count = round(share * together.numel())
    where = torch.zeros_like(together, dtype=torch.bool)
    where[together.topk(count, largest=False, sorted=False).indices] = True
    pieces = torch.split(where, [size.numel() for size in sizes])
    return {name: piece.view_as(matrix) for (name, matrix), piece in zip(matrices.items(), pieces, strict=True)}


def _sizes(matrix: Tensor, pruned: Tensor | None) -> Tensor:
    """Magnitudes; what was pruned is smaller than any other, zeros that were learned among them."""
    sizes = matrix.detach().abs()
    return sizes if pruned is None else sizes.masked_fill(pruned, -1.0)


def smallest_two_of_four(matrix: Tensor) -> Tensor:
    """Where the two smallest of every four neighbours in a row (that is, of four inputs of an output) stand."""
    fours = matrix.detach().abs().reshape(-1, 4)
    where = torch.zeros_like(fours, dtype=torch.bool)
    where.scatter_(1, fours.argsort(dim=1, stable=True)[:, :2], True)
    return where.view_as(matrix)


def _check_fours(name: str, matrix: Tensor) -> None:
    inputs = matrix.shape[-1]
    if inputs % 4:
        raise TrainingError(
            f"2:4 takes two of every four inputs, and '{name}' has {inputs:,} of them",
            where="sparsity",
            expected="widths that are divisible by 4",
            fix="change the model's widths, or use sparsity: {kind: magnitude}",
        )
