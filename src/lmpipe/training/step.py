"""The gradient of one optimiser step: of all parts of a batch, in one process or several. The update is the optimiser's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from lmpipe.base.progress import Progress
from lmpipe.models.network import Network
from lmpipe.training.compiling import LossFunction, compiled_or_plain, has_compiler
from lmpipe.training.objectives import Losses, Objective
from lmpipe.training.optimizers import MasterOptimizer
from lmpipe.training.ranks import Ranks

Part = tuple[Tensor, ...]
"""Some rows of every array of a batch."""


class Gradient(NamedTuple):
    """What the backward passes of one step measured; the gradient itself is with the optimiser."""

    loss: float
    """Nats per supervised token of the batch."""
    norm: float
    """Before clipping; not finite where the loss is not."""
    measured: dict[str, float]
    """What else the objective measures, per supervised token or answer."""

    @property
    def problem(self) -> str:
        """What is wrong with it; "" for a finite one."""
        if not math.isfinite(self.loss):
            return f"the loss became {self.loss:g}"
        return "" if math.isfinite(self.norm) else "the gradient is not finite"


def make_losses(network: Network, objective: Objective, *, compile: bool, progress: Progress) -> LossFunction:
    """The training loss of `network`, compiled where that is wanted and can be done."""

    def losses(*part: Tensor) -> Losses:
        return objective.losses(network, *part)

    if not compile:
        return losses
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not has_compiler(parameters[0].device.type):
        progress.note("no C++ compiler here (CXX, c++, g++ or clang++): training runs uncompiled, somewhat slower")
        return losses
    return compiled_or_plain(losses, parameters, progress)


def parts_of(batch: Sequence[Any], micro_rows: int, device: str) -> list[Part]:
    """The arrays of a batch as tensors, in parts of `micro_rows` rows."""
    tensors = (torch.from_numpy(array).to(device) for array in batch)
    return list(zip(*(torch.split(tensor, micro_rows) for tensor in tensors), strict=True))


class Sums(NamedTuple):
    """What the backward passes of one process measured: its share of a `Gradient`."""

    loss: float
    measured: dict[str, float]


def rows_at_once(batch: Sequence[NDArray[Any]], micro_rows: int, row_tokens: int | None) -> int:
    """Rows of a batch that go through the model at once: as many as hold the positions of `micro_rows` rows of `row_tokens`."""
    return micro_rows if row_tokens is None else max(1, micro_rows * row_tokens // batch[0].shape[1])


def accumulate(losses: LossFunction, optimizer: MasterOptimizer, parts: list[Part], supervised: int) -> Sums:
    """Backward through every part, each weighed by its share of the `supervised` tokens of the whole batch.

    The gradient is then the optimiser's, to be used (`update`) or dropped (`discard`).
    """
    total, measured = 0.0, dict[str, float]()
    count = max(1, supervised)
    for part in parts:
        found = losses(*part)
        share = found.minimised / count
        (share if optimizer.loss_scale == 1 else share * optimizer.loss_scale).backward()  # type: ignore[no-untyped-call]
        total += float(found.nats.detach()) / count
        for name, value in (found.measured or {}).items():
            measured[name] = measured.get(name, 0.0) + float(value.detach()) / count
    optimizer.take_gradients()
    return Sums(total, measured)


def added_up(sums: Sums, optimizer: MasterOptimizer, ranks: Ranks) -> Gradient:
    """The gradient of the whole batch, in every process's optimiser: what each of them accumulated, together."""
    optimizer.add_gradients(ranks)
    loss, *measured = ranks.totals([sums.loss, *sums.measured.values()])
    return Gradient(loss, float(optimizer.norm()), dict(zip(sums.measured, measured, strict=True)))
