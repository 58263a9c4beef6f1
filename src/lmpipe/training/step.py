"""One optimiser step: gradients of one or several parts of the batch, added up; then the update."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed
from torch._inductor.exc import InductorError

from lmpipe.base.errors import TrainingError
from lmpipe.base.progress import Progress
from lmpipe.models.llama.model import Llama
from lmpipe.tokens.loader import Batch
from lmpipe.training.objectives import causal_nats
from lmpipe.training.optimizers import MasterOptimizer

Nats = Callable[[Tensor, Tensor, Tensor], Tensor]
"""ids_BT, targets_BT, segments_BT -> sum of nats."""


class StepResult(NamedTuple):
    """What one step measured."""

    loss: float
    """Nats per token of the batch, before the update."""
    gradient_norm: float
    """Before clipping."""


def make_nats(model: Llama, *, compile: bool, progress: Progress) -> Nats:
    """The training loss of `model`, compiled where that is wanted and can be done."""

    def nats(ids_BT: Tensor, targets_BT: Tensor, segments_BT: Tensor) -> Tensor:
        return causal_nats(model, ids_BT, targets_BT, segments_BT)

    if not compile:
        return nats
    if not has_compiler(next(model.parameters()).device.type):
        progress.note("no C++ compiler here (CXX, c++, g++ or clang++): training runs uncompiled, somewhat slower")
        return nats
    return _compiled(nats, progress)


def _compiled(nats: Nats, progress: Progress) -> Nats:
    """`nats` compiled; plain, with a note, where the compiler turns out not to work."""
    compiled: Nats = torch.compile(nats, dynamic=False)
    working = True

    def compiled_or_plain(ids_BT: Tensor, targets_BT: Tensor, segments_BT: Tensor) -> Tensor:
        nonlocal working
        if working:
            try:
                return compiled(ids_BT, targets_BT, segments_BT)
            except (BackendCompilerFailed, InductorError) as error:
                working = False
                reason = str(error).strip().splitlines()[0][:200]
                progress.note(
                    f"the training step cannot be compiled here ({reason}); training runs uncompiled, somewhat slower"
                )
        return nats(ids_BT, targets_BT, segments_BT)

    return compiled_or_plain


def has_compiler(device: str) -> bool:
    """Whether what torch.compile needs on `device` is installed."""
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    return device == "cuda" or any(name and shutil.which(name) for name in names)


def parts_of(batch: Batch, micro_rows: int, device: str) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The batch as tensors, in parts of `micro_rows` rows."""
    arrays = (torch.from_numpy(array).to(device) for array in batch)
    return list(zip(*(torch.split(array, micro_rows) for array in arrays), strict=True))


def optimizer_step(
    nats: Nats,
    optimizer: MasterOptimizer,
    parts: list[tuple[Tensor, Tensor, Tensor]],
    *,
    rate_fraction: float,
    clip_norm: float | None,
    step: int,
) -> StepResult:
    """Backward through every part, each weighed by its share of the batch's tokens, then update.

    Raises:
        TrainingError: when loss or gradient is not finite; nothing was updated then.
    """
    tokens = sum(ids.numel() for ids, _, _ in parts)
    total = 0.0
    for ids_BT, targets_BT, segments_BT in parts:
        loss = nats(ids_BT, targets_BT, segments_BT) / tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    norm = float("nan") if not math.isfinite(total) else optimizer.step(rate_fraction, clip_norm)
    if not math.isfinite(norm):
        raise TrainingError(
            f"the loss became {total:g} at step {step + 1}"
            if not math.isfinite(total)
            else f"the gradient of step {step + 1} is not finite",
            where=f"learning rate {optimizer.peak_rate * rate_fraction:g}",
            expected="finite numbers; the update was not made",
            fix="lower optimizer.lr, lengthen the warm-up, or set clip_norm: the same settings would meet the same numbers",
        )
    return StepResult(total, norm)
