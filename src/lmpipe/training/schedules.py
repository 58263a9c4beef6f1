"""Learning rates as a share of the peak: pure functions of the step, so nothing of a schedule needs saving."""

from __future__ import annotations

import math

from lmpipe.training.schedule_config import ConstantConfig, CosineConfig, InverseSqrtConfig, LinearConfig, ScheduleConfig


def rate_fraction(schedule: ScheduleConfig, step: int, steps: int) -> float:
    """The rate of optimiser step `step` (from 0) of `steps`, over the peak rate.

    Warm-up rises linearly and reaches the peak with its last step; the last step of all has the final rate.

    >>> from lmpipe.training.schedule_config import WsdConfig
    >>> [round(rate_fraction(WsdConfig(warmup_fraction=0.5, decay_fraction=0.5), s, 4), 2) for s in range(4)]
    [0.5, 1.0, 0.5, 0.0]
    """
    warmup = round(schedule.warmup_fraction * steps)
    if step < warmup:
        return (step + 1) / warmup
    if isinstance(schedule, ConstantConfig):
        return 1.0
    if isinstance(schedule, InverseSqrtConfig):
        return math.sqrt(max(1, warmup) / (step + 1))
    done = (step - warmup + 1) / max(1, steps - warmup)
    if isinstance(schedule, LinearConfig):
        return 1.0 + (schedule.final_fraction - 1.0) * done
    if isinstance(schedule, CosineConfig):
        return schedule.final_fraction + (1.0 - schedule.final_fraction) * (1.0 + math.cos(math.pi * done)) / 2.0
    decay = round(schedule.decay_fraction * steps)
    left = (steps - 1 - step) / decay if decay else 1.0
    return 1.0 if left >= 1 else schedule.final_fraction + (1 - schedule.final_fraction) * left
