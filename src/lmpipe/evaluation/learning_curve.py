"""Does more data help? Evaluations of models that learned from more and more of the same text, and the law that they follow.

    error
      |  *                          error(n) = a n^-b, fitted on log scales to the errors at n1 < n2 < ...
      |      *
      |            *                resampled test items, the same for all sizes: an interval of every error, of b, and of
      |                       o     what twice the data would give
      +---n1--n2---n3--------2 n3

A power law is what learning curves follow between the first examples and the noise of the labels (Hestness et al. 2017). Which
side the error is on follows from the statistic: 1 minus a share or score, 100 minus a BLEU, a loss as it is.

Legend of shape suffixes: R resamples, K sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lmpipe.base.config import Config
from lmpipe.base.errors import RecipeError
from lmpipe.base.measures import Direction, Interval, Metric
from lmpipe.evaluation.bootstrap import Floats, Resampling, interval_of
from lmpipe.evaluation.repeats import LEAD_PART, open_items, resampled_statistics

CEILINGS = {
    "fraction": 1.0,
    "score": 1.0,
    "correlation": 1.0,
    "explained fraction": 1.0,
    "0 to 100": 100.0,
}
"""By unit: the best that a statistic can be of which higher is better."""
ROUNDING = 1e-9
"""Gains below this come of the logarithms."""
Answer = Literal["yes", "no", "not shown"]


class Learning(Config):
    """One statistic over sizes of the training text."""

    statistic: str
    unit: str
    direction: Direction
    values: list[float]
    """One for each size, the smallest first."""
    intervals: list[Interval | None]
    exponent: float | None
    """b of the fitted law; above 0: the error falls."""
    fitted: list[float]
    """What the law gives at each size; empty where none can be fitted."""
    doubled: float | None
    """What the law gives at twice the largest size."""
    doubled_interval: Interval | None
    gain: float | None
    """By how much that is better than the law at the largest size."""
    gain_interval: Interval | None
    helps: Answer
    """`yes` and `no` where the whole interval of the gain lies on one side of 0, and the law passes through every measured
    interval."""


def measure_learning(folders: Sequence[Path], sizes: Sequence[int], subject: str, resampling: Resampling) -> list[Learning]:
    """Every statistic that has a better side, over sizes.

    Args:
        folders: the evaluation at each size, all of the same test items.
        sizes: documents of training text, ascending.
        subject: how the numbers' names begin, such as `reviews.test`.
        resampling: how intervals are made.

    Raises:
        RecipeError: when the evaluations are not of the same items.
    """
    sides = [open_items(folder, subject) for folder in folders]
    if len({side.digest for side in sides}) > 1:
        raise RecipeError("the evaluations are not of the same test items", expected="one test side for all sizes")
    resampled = resampled_statistics(sides, resampling)
    resampling = replace(resampling, unit=sides[0].unit)
    found = []
    for name, first in sides[0].recorded.items():
        if LEAD_PART in name:  # a difference of two errors follows no law of its own
            continue
        if first.direction == "none" or name not in resampled or not all(name in side.recorded for side in sides):
            continue
        recorded = [side.recorded[name] for side in sides]
        values = [metric.value for metric in recorded]
        law = _law(np.array([values]), resampled[name], sizes, first.unit, first.direction, sides[0].count, resampling)
        if not _fits(law["fitted"], recorded):
            law["helps"] = "not shown"
        found.append(
            Learning(
                statistic=name,
                unit=first.unit,
                direction=first.direction,
                values=values,
                intervals=[metric.interval for metric in recorded],
                **law,
            )
        )
    return found


def _fits(fitted: Sequence[float], measured: Sequence[Metric]) -> bool:
    """Whether the law passes through every measured interval: beyond the largest size nothing else speaks for it."""
    bounds = (metric.interval for metric in measured)
    pairs = zip(fitted, bounds, strict=False)  # nothing is fitted where there are too few sizes
    return all(bound is None or bound.low <= value <= bound.high for value, bound in pairs)


def fit_power_law(sizes_K: Floats, errors_RK: Floats) -> tuple[Floats, Floats]:
    """log a and b of `error(n) = a n^-b`, by least squares on log scales, for each row of errors.

    >>> log_a, b = fit_power_law(np.array([100.0, 200.0, 400.0]), np.array([[0.4, 0.2, 0.1]]))
    >>> round(float(b[0]), 6), round(float(np.exp(log_a[0])), 6)
    (1.0, 40.0)
    """
    logs_K = np.log(sizes_K)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.log(np.where(errors_RK > 0, errors_RK, np.nan))
    centred_K = logs_K - logs_K.mean()
    slope_R = (errors * centred_K).sum(axis=1) / (centred_K**2).sum()
    return errors.mean(axis=1) - slope_R * logs_K.mean(), -slope_R


def _law(
    values_1K: Floats,
    values_RK: Floats,
    sizes: Sequence[int],
    unit: str,
    direction: str,
    items: int,
    resampling: Resampling,
) -> dict[str, Any]:
    nothing: dict[str, Any] = dict.fromkeys(("exponent", "doubled", "doubled_interval", "gain", "gain_interval"))
    ceiling = CEILINGS.get(unit)
    if (direction == "higher" and ceiling is None) or len(set(sizes)) < 3:
        return {**nothing, "fitted": [], "helps": "not shown"}
    sizes_K = np.array([*sizes, 2 * sizes[-1]], dtype=np.float64)

    def predicted(values: Floats) -> tuple[Floats, Floats]:
        """b, and the law in the statistic's own unit at every size and at twice the largest."""
        errors = ceiling - values if direction == "higher" and ceiling is not None else values
        log_a, b = fit_power_law(sizes_K[:-1], errors)
        law = np.exp(log_a[:, None] - b[:, None] * np.log(sizes_K)[None, :])
        return b, ceiling - law if direction == "higher" and ceiling is not None else law

    exponent, law_1K = predicted(values_1K)
    if not np.isfinite(law_1K).all():
        return {**nothing, "fitted": [], "helps": "not shown"}
    _, law_RK = predicted(values_RK)
    sign = 1.0 if direction == "higher" else -1.0
    gain_R = sign * (law_RK[:, -1] - law_RK[:, -2])
    gained = interval_of(gain_R, items, resampling)
    helps: Answer = "not shown"
    if gained is not None and (gained.low > ROUNDING or gained.high < -ROUNDING):
        helps = "yes" if gained.low > 0 else "no"
    return {
        "exponent": float(exponent[0]),
        "fitted": law_1K[0, :-1].tolist(),
        "doubled": float(law_1K[0, -1]),
        "doubled_interval": interval_of(law_RK[:, -1], items, resampling),
        "gain": float(sign * (law_1K[0, -1] - law_1K[0, -2])),
        "gain_interval": gained,
        "helps": helps,
    }
