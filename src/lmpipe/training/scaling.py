"""Training in fp16: the loss is scaled up before the backward pass, so that small gradients do not become zero.

fp16 ends at 65,504 and loses bits below 0.00006. Gradients of a loss that is multiplied by a power of two lie higher by that
factor, and are divided by it, exactly, when they are taken in fp32. Where they leave the range the step is skipped and the
scale halved; after 2,000 steps without that it is doubled (Micikevicius et al. 2018; numbers as in torch's GradScaler).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from lmpipe.base.errors import TrainingError
from lmpipe.training.optimizers import MasterOptimizer
from lmpipe.training.step import Gradient

FIRST, INTERVAL = 65536.0, 2000


class LossScale:
    """The scale of an optimiser's loss, and when to change it."""

    def __init__(self, optimizer: MasterOptimizer) -> None:
        self.optimizer, self.steps = optimizer, 0
        """Steps since the scale changed."""
        optimizer.loss_scale = FIRST

    def judge(self, gradient: Gradient) -> str:
        """Why to skip the step, the scale halved already; "" for a finite gradient, or where the scale is not to blame."""
        scale = self.optimizer.loss_scale
        if math.isfinite(gradient.norm):
            self.steps += 1
            if self.steps == INTERVAL:
                self.optimizer.loss_scale, self.steps = 2 * scale, 0
            return ""
        if not math.isfinite(gradient.loss) or scale <= 1:
            return ""
        self.optimizer.loss_scale, self.steps = scale / 2, 0
        return f"the gradient left the range of fp16 with the loss times {scale:,.0f}; from here on {scale / 2:,.0f}"

    def numbers(self) -> list[float]:
        """For a checkpoint."""
        return [self.optimizer.loss_scale, self.steps]

    def restore(self, numbers: Sequence[float]) -> None:
        """The inverse of `numbers`."""
        self.optimizer.loss_scale, self.steps = numbers[0], int(numbers[1])


def check_half(device: str) -> None:
    """Whether torch computes products in fp16 on this device, forwards and backwards.

    Raises:
        TrainingError: when it does not.
    """
    try:
        weights = torch.ones(2, 2, dtype=torch.float16, device=device, requires_grad=True)
        torch.softmax(weights @ weights, -1).sum().backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise no_half(error, device) from None


def no_half(error: RuntimeError, device: str) -> TrainingError:
    """The error for an operation that torch does not have in fp16."""
    return TrainingError(
        f"torch cannot train in fp16 on this device ({device}): {str(error).splitlines()[0]}",
        where="precision",
        expected="bf16 or fp32 here",
        fix="set precision: auto",
    )
