"""How likely a difference would be between two equal models: exact McNemar, approximate randomization, Holm's correction.

Knows no model and no file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from lmpipe.evaluation.bootstrap import CHUNK_ELEMENTS, Floats


def mcnemar(first_N: npt.ArrayLike, second_N: npt.ArrayLike) -> float:
    """Exact two-sided McNemar test (McNemar 1947): a binomial test of the examples that only one of the two models has right.

    >>> round(mcnemar([1, 1, 1, 1, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0, 1, 1]), 4)
    0.125

    Args:
        first_N: which examples the first model has right.
        second_N: the same for the second, on the same examples.
    """
    first, second = np.asarray(first_N, dtype=np.bool_), np.asarray(second_N, dtype=np.bool_)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    trials, fewer = only_first + only_second, min(only_first, only_second)
    terms = [math.lgamma(trials + 1) - math.lgamma(i + 1) - math.lgamma(trials - i + 1) for i in range(fewer + 1)]
    largest = max(terms)
    tail = math.fsum(math.exp(term - largest) for term in terms)
    return min(1.0, 2 * math.exp(largest + math.log(tail) - trials * math.log(2)))


def approximate_randomization(
    values: Callable[[Floats], dict[str, Floats]], count: int, *, shuffles: int, seed: int
) -> dict[str, float]:
    """Two-sided p of each statistic's difference, when the two models' answers to each example are exchanged at random.

    Noreen 1989; the variant with one added to both counts, so that p is never 0 (Phipson and Smyth 2010). It serves any
    statistic, corpus BLEU and AUROC included, because a statistic of some of the answers is that statistic with weights of
    zeros and ones.

    Args:
        values: statistics of weighted answers, of which the first `count` are one model's and the next `count` the other's,
            on the same examples in the same order.
        count: examples.
        shuffles: how many exchanges are tried.
        seed: of the exchanges.
    """
    generator = np.random.default_rng(seed)
    sides = np.repeat(np.array([[1.0, 0.0], [0.0, 1.0]]), count, axis=1)
    observed = _differences(values, sides[:1])
    at_least = {name: np.zeros(1) for name in observed}
    rows_at_once = max(1, CHUNK_ELEMENTS // (4 * count))
    for start in range(0, shuffles, rows_at_once):
        kept_RN = generator.integers(0, 2, size=(min(rows_at_once, shuffles - start), count)).astype(np.float64)
        differences = _differences(values, np.concatenate([kept_RN, 1 - kept_RN], axis=1))
        for name, difference_R in differences.items():
            slack = 1e-12 * max(1.0, float(np.abs(observed[name][0])))  # sums in another order differ in the last bits
            at_least[name] += np.count_nonzero(~(np.abs(difference_R) < np.abs(observed[name]) - slack))
    return {name: float((hits[0] + 1) / (shuffles + 1)) for name, hits in at_least.items() if np.isfinite(observed[name][0])}


def _differences(values: Callable[[Floats], dict[str, Floats]], weights_RN: Floats) -> dict[str, Floats]:
    first, second = values(weights_RN), values(1 - weights_RN)
    return {name: second[name] - first[name] for name in first}


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979): p values that may all be read together.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    reached = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        reached = max(reached, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = reached
    return adjusted
