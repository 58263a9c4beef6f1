"""Intervals for counted fractions and their difference; exact enough for the few hundred samples of an audit."""

from __future__ import annotations

import math
from statistics import NormalDist

from lmpipe.base.measures import Interval


def wilson(hits: int, trials: int, level: float = 0.95) -> Interval:
    """Wilson's score interval for a fraction (Wilson 1927; Brown, Cai and DasGupta 2001): sensible also at 0 of n and n of n.

    >>> interval = wilson(0, 200)
    >>> interval.low, round(interval.high, 4)
    (0.0, 0.0188)
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = hits / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    low = 0.0 if hits == 0 else max(0.0, centre - half)
    high = 1.0 if hits == trials else min(1.0, centre + half)
    return Interval(low=low, high=high, level=level, method=f"Wilson score interval over {trials} trials")


def newcombe(hits: int, trials: int, other_hits: int, other_trials: int, level: float = 0.95) -> Interval:
    """Interval for the difference of two independent fractions, first minus other (Newcombe 1998, method 10)."""
    first, other = wilson(hits, trials, level), wilson(other_hits, other_trials, level)
    share, other_share = hits / trials, other_hits / other_trials
    difference = share - other_share
    below = math.hypot(share - first.low, other.high - other_share)
    above = math.hypot(first.high - share, other_share - other.low)
    method = f"Newcombe's hybrid score interval over {trials} and {other_trials} trials"
    return Interval(low=max(-1.0, difference - below), high=min(1.0, difference + above), level=level, method=method)


def student_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t for a whole number of degrees of freedom, by bisection of its distribution function (Abramowitz
    and Stegun 26.7.3 and 26.7.4).

    >>> [round(student_quantile(0.975, n), 3) for n in (1, 2, 4, 30)]
    [12.706, 4.303, 2.776, 2.042]
    """
    wanted, low, high = 2 * probability - 1, 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < wanted else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _within(angle: float, freedom: int) -> float:
    """Probability that |t| is at most sqrt(freedom) tan(angle)."""
    sine, squared = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2
    term, total = (math.cos(angle), 0.0) if odd else (1.0, 0.0)
    for step in range((freedom - odd) // 2):
        total += term
        term *= squared * ((2 * step + 2) / (2 * step + 3) if odd else (2 * step + 1) / (2 * step + 2))
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
