"""Axes and points: round ticks, ranges, scales, and fewer points without losing a peak.

Does not know: markup. Everything is a pure function of its arguments, so a page is the same bytes each time it is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MAX_POINTS = 600
"""Points drawn per line: more than the pixels of the widest plot would show nothing new."""


@dataclass(frozen=True)
class Axis:
    """A range of values, its ticks, and where on it a value lies."""

    low: float
    high: float
    ticks: tuple[float, ...]
    scale: Literal["linear", "log"] = "linear"

    def position(self, value: float) -> float:
        """Where `value` lies, as a fraction of the axis; values outside are put on the edge."""
        low, high = self.low, self.high
        if self.scale == "log":
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return min(1.0, max(0.0, (value - low) / (high - low)))


def tick_decimals(on: Axis) -> int:
    """The decimals that tell neighbouring ticks of a linear axis apart: 1 for 1.6, 1.7; 2 for 0.25, 0.5."""
    texts = [f"{tick:.9f}".rstrip("0") for tick in on.ticks]
    return max((len(text) - text.index(".") - 1 for text in texts), default=0)


def axis(
    values: Sequence[float], *, scale: Literal["linear", "log"] = "linear", from_zero: bool = False, ticks: int = 5
) -> Axis:
    """The smallest axis with round ends that holds all `values`; a log axis becomes linear where a value is not positive."""
    if not values:
        return Axis(0.0, 1.0, (0.0, 1.0))
    low, high = min(values), max(values)
    if scale == "log" and low > 0:
        return _log_axis(low, high)
    if from_zero:
        low, high = min(0.0, low), max(0.0, high)
    if high == low:
        margin = abs(high) / 10 or 1.0
        low, high = (0.0 if from_zero and low >= 0 else low - margin), high + margin
    step = _round_step((high - low) / ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    marks = tuple(_tidy(step * i, step) for i in range(first, last + 1))
    return Axis(marks[0], marks[-1], marks)


def tight_axis(values: Sequence[float], *, ticks: int = 5) -> Axis:
    """A linear axis from zero that ends at the largest value, not at the next round number: for time and tokens."""
    high = max(values, default=1.0) or 1.0
    step = _round_step(high / ticks)
    marks = tuple(_tidy(step * i, step) for i in range(math.floor(high / step + 1e-9) + 1))
    return Axis(0.0, high, marks)


TIME_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200)
"""Seconds between ticks that a clock's reader finds round; longer spans use whole days."""


def time_axis(seconds: Sequence[float], *, ticks: int = 5) -> Axis:
    """A linear axis from zero to the largest span, with ticks at round seconds, minutes, hours or days."""
    high = max(seconds, default=1.0) or 1.0
    days = 86400.0 * max(1, math.ceil(high / ticks / 86400))
    step = next((s for s in TIME_STEPS if s * ticks >= high), days)
    return Axis(0.0, high, tuple(step * i for i in range(math.floor(high / step + 1e-9) + 1)))


def _log_axis(low: float, high: float) -> Axis:
    if high / low < 1.05:
        low, high = low * 0.9, high * 1.1
    decades = math.log10(high / low)
    wanted = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0) if decades <= 1.2 else (1.0, 2.0, 5.0) if decades <= 3 else (1.0,)
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    marks = [float(f"{m}e{e}") for e in exponents for m in wanted]
    first = max(i for i, mark in enumerate(marks) if mark <= low * 1.001)
    last = min(i for i, mark in enumerate(marks) if mark >= high * 0.999)
    return Axis(marks[first], marks[last], tuple(marks[first : last + 1]), "log")


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= rough * 0.999)


def _tidy(value: float, step: float) -> float:
    """Round away what floating point added to a multiple of `step`: 0.30000000000000004 becomes 0.3."""
    return round(value, max(0, 2 - math.floor(math.log10(step))))


def decimate(values: Sequence[float | None], limit: int = MAX_POINTS) -> list[int]:
    """Positions of at most about `limit` points that keep the first, the last, every gap's edge and every bucket's extremes.

    A smoothed or strided thinning would hide the one spike that a reader looks for; the least and the greatest of each bucket
    cannot.

    >>> decimate([0.0, 1.0, 9.0, 1.0, 0.0, 1.0, -9.0, 1.0], limit=4)
    [0, 2, 6, 7]
    """
    if len(values) <= limit:
        return list(range(len(values)))
    keep = {0, len(values) - 1}
    buckets = max(1, (limit - 2) // 2)
    for bucket in range(buckets):
        span = range(bucket * len(values) // buckets, (bucket + 1) * len(values) // buckets)
        known = [(value, i) for i in span if (value := values[i]) is not None]
        if known:
            keep |= {min(known)[1], max(known)[1]}
        if len(known) < len(span):
            keep.add(next(i for i in span if values[i] is None))
    return sorted(keep)
