"""Steps that should not be taken: what counts as one, and what the phase wants done about it.

A spike is judged by the rows of the curve alone, so a resumed run judges as the uninterrupted one did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from statistics import fmean, pstdev
from typing import Any

from lmpipe.base.errors import TrainingError
from lmpipe.training.config import IncidentAction, PhaseConfig, SpikeConfig
from lmpipe.training.step import Gradient

LIMIT = 100
"""Incidents in one phase, at most: more of them is no incident but a wrong setting."""


def judge(gradient: Gradient, phase: PhaseConfig, curve: Sequence[dict[str, Any]]) -> tuple[str, IncidentAction]:
    """What is wrong with a step, and what to do; ("", ...) where nothing is."""
    if gradient.problem:
        return gradient.problem, phase.on_non_finite
    if phase.on_spike is None:
        return "", "stop"
    return spike(gradient, phase.on_spike, curve), phase.on_spike.action


def spike(gradient: Gradient, config: SpikeConfig, curve: Sequence[dict[str, Any]]) -> str:
    """How far loss or gradient lie above the last steps; "" where they do not, or too few steps were seen."""
    rows = list(islice((row for row in reversed(curve) if "loss" in row), config.window))
    if len(rows) < config.window:
        return ""
    for name, value, key in (("loss", gradient.loss, "loss"), ("gradient norm", gradient.norm, "gradient_norm")):
        seen = [row[key] for row in rows]
        mean, deviation = fmean(seen), pstdev(seen)
        if value > mean + config.deviations * max(deviation, 1e-3 * abs(mean)):
            return f"the {name} jumped to {value:.4g} from {mean:.4g} (+- {deviation:.2g}) in the {config.window} steps before"
    return ""


def refusal(reason: str, step: int, rate: float, *, incidents: int = 0) -> TrainingError:
    """The error that ends a run."""
    many = f", after {incidents} steps that were skipped or rolled back" if incidents else ""
    return TrainingError(
        f"{reason} at step {step + 1}{many}",
        where=f"learning rate {rate:g}",
        expected="finite numbers that fall slowly; the update was not made",
        fix="lower optimizer.lr, lengthen the warm-up, or set clip_norm: the same settings would meet the same numbers",
    )


def perplexed(loss: float, step: int) -> TrainingError | None:
    """The error for a validation loss that is no number."""
    if math.isfinite(loss):
        return None
    return TrainingError(f"the validation loss is {loss} after step {step}", fix="lower optimizer.lr or set clip_norm")
