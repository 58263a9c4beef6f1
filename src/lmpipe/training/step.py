"""The gradient of one optimiser step: of one or several parts of the batch, added up. The update is the optimiser's."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lmpipe.base.progress import Progress
from lmpipe.models.network import Network
from lmpipe.training.objectives import Losses, Objective
from lmpipe.training.optimizers import MasterOptimizer

Part = tuple[Tensor, ...]
"""Some rows of every array of a batch."""
LossFunction = Callable[..., Losses]
"""The arrays of a part -> sums over its tokens."""


class Gradient(NamedTuple):
    """What the backward passes of one step measured; the gradient itself is with the optimiser."""

    loss: float
    """Nats per supervised token of the batch."""
    norm: float
    """Before clipping; not finite where the loss is not."""

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
    if not has_compiler(next(network.parameters()).device.type):
        progress.note("no C++ compiler here (CXX, c++, g++ or clang++): training runs uncompiled, somewhat slower")
        return losses
    return _compiled(losses, progress)


def _compiled(losses: LossFunction, progress: Progress) -> LossFunction:
    """`losses` compiled; plain, with a note, where the compiler turns out not to work."""
    compiled: LossFunction = torch.compile(losses, dynamic=False)
    working = True

    def compiled_or_plain(*part: Tensor) -> Losses:
        nonlocal working
        if working:
            try:
                return compiled(*part)
            except _compiler_errors() as error:
                working = False
                reason = str(error).strip().splitlines()[0][:200]
                progress.note(
                    f"the training step cannot be compiled here ({reason}); training runs uncompiled, somewhat slower"
                )
        return losses(*part)

    return compiled_or_plain


def _compiler_errors() -> tuple[type[Exception], ...]:
    """What failed compilation raises. Loading the compiler takes seconds, so it is loaded where something is compiled."""
    from torch._dynamo.exc import BackendCompilerFailed
    from torch._inductor.exc import InductorError

    return BackendCompilerFailed, InductorError


def has_compiler(device: str) -> bool:
    """Whether what torch.compile needs on `device` is installed."""
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    return device == "cuda" or any(name and shutil.which(name) for name in names)


def parts_of(batch: Sequence[Any], micro_rows: int, device: str) -> list[Part]:
    """The arrays of a batch as tensors, in parts of `micro_rows` rows."""
    tensors = (torch.from_numpy(array).to(device) for array in batch)
    return list(zip(*(torch.split(tensor, micro_rows) for tensor in tensors), strict=True))


def accumulate(losses: LossFunction, optimizer: MasterOptimizer, parts: list[Part], supervised: int) -> Gradient:
    """Backward through every part, each weighed by its share of the batch's supervised tokens.

    The gradient is then the optimiser's, to be used (`update`) or dropped (`discard`).
    """
    total = 0.0
    count = max(1, supervised)
    for part in parts:
        found = losses(*part)
        (found.minimised / count).backward()  # type: ignore[no-untyped-call]
        total += float(found.nats.detach()) / count
    return Gradient(total, optimizer.take_gradients())
