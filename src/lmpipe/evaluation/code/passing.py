"""pass@k: the chance that one of k programs drawn from a model solves a problem, estimated from n >= k drawn ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from lmpipe.base.errors import SourceError
from lmpipe.evaluation.bootstrap import Floats
from lmpipe.evaluation.weighting import weighted_mean

SCHEMA = {"samples": pa.int64(), "right": pa.int64()}


def pass_at(samples: int, right: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k), the unbiased estimate of Chen et al. 2021 (section 2.1), as a product that does not overflow.

    >>> round(pass_at(10, 1, 1), 3), pass_at(5, 5, 3), round(pass_at(10, 2, 5), 3)
    (0.1, 1.0, 0.778)

    Raises:
        SourceError: when fewer than k programs were drawn.
    """
    if not 0 <= right <= samples or k > samples:
        raise SourceError(f"pass@{k} of {samples} programs, {right} right", expected=f"at least {k} programs for each problem")
    if samples - right < k:
        return 1.0
    return 1.0 - float(np.prod(1.0 - k / np.arange(samples - right + 1, samples + 1)))


def sampled(samples: Sequence[int], right: Sequence[int]) -> dict[str, Sequence[object]]:
    """Columns for a batch of per-problem results: how many programs were drawn, and how many passed every test."""
    return {"samples": list(samples), "right": list(right)}


class Passing:
    """Counts of drawn and right programs of N problems."""

    def __init__(self, samples: Sequence[int], right: Sequence[int], at: Sequence[int]) -> None:
        pairs = list(zip(samples, right, strict=True))
        self._values = {f"pass_at_{k}": np.array([pass_at(n, c, k) for n, c in pairs], dtype=np.float64) for k in at}
        self.count = len(pairs)

    def zero_one(self) -> dict[str, Floats]:
        """pass@k where every problem's estimate is 0 or 1: one program each, all solved, none solved. Resamples of equal values
        would give an interval of no width."""
        return {name: values_N for name, values_N in self._values.items() if np.isin(values_N, (0.0, 1.0)).all()}

    def values(self, weights_RN: Floats) -> dict[str, Floats]:
        """Every statistic for each row of weights."""
        return {name: weighted_mean(weights_RN, values_N) for name, values_N in self._values.items()}
