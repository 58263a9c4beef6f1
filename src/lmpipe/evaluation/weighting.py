"""Statistics of weighted examples: one function serves the number itself, its bootstrap, and a test by permutation.

Legend of shape suffixes: R rows of weights, N examples, G groups. A row of ones gives the statistic of the data; a row that
says how often a resample drew each example gives the statistic of that resample; a row of zeros and ones that of a subset.
Sums are taken by numpy in a fixed order and not by BLAS, so that they do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from lmpipe.evaluation.bootstrap import Floats

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


class Measured(Protocol):
    """Examples of one kind of task, ready to be weighted."""

    @property
    def count(self) -> int:
        """How many examples there are."""

    def values(self, weights_RN: Floats) -> dict[str, Floats]:
        """Every statistic for each row of weights; NaN where a row leaves it undefined."""

    def zero_one(self) -> dict[str, Floats]:
        """For each statistic that is a share of right examples: which are right (1.0) and which are wrong (0.0)."""


class MeasuredByClass(Measured, Protocol):
    """Examples whose classes have precision, recall and F1 of their own."""

    def class_counts(self, weights_RN: Floats) -> dict[str, ClassCounts]:
        """Weighted counts of each class."""


def ones(count: int) -> Floats:
    """The weights of the data itself: shape (1, count)."""
    return np.ones((1, count), dtype=np.float64)


def weighted_sum(weights_RN: Floats, values_N: Floats | Integers | Booleans) -> Floats:
    """Shape (R,)."""
    total_R: Floats = (weights_RN * values_N).sum(axis=1)
    return total_R


def ratio(numerator: Floats, denominator: Floats, *, undefined: float = np.nan) -> Floats:
    """Numerator over denominator, `undefined` where the latter is zero."""
    known = denominator != 0
    return np.where(known, numerator / np.where(known, denominator, 1.0), undefined)


def weighted_mean(weights_RN: Floats, values_N: Floats | Integers | Booleans) -> Floats:
    """Shape (R,)."""
    return ratio(weighted_sum(weights_RN, values_N), weights_RN.sum(axis=1))


def group_sums(weights_RN: Floats, group_N: Integers, groups: int) -> Floats:
    """Sums of the weights of each group: shape (R, G). Examples of a negative group count nowhere."""
    order = np.argsort(group_N, kind="stable")
    edges = np.searchsorted(group_N[order], np.arange(groups + 1))
    running = np.zeros((len(weights_RN), len(order) + 1))
    np.cumsum(weights_RN[:, order], axis=1, out=running[:, 1:])
    sums_RG: Floats = running[:, edges[1:]] - running[:, edges[:-1]]
    return sums_RG


class ClassCounts:
    """How often a class was predicted rightly, was true, and was predicted, for each row of weights.

    Precision, recall and F1 are 0 where they have no denominator, as scikit-learn's `zero_division=0`.
    """

    def __init__(self, right: Floats, true: Floats, predicted: Floats) -> None:
        self.right = right
        self.true = true
        self.predicted = predicted

    @property
    def precision(self) -> Floats:
        """Right among predicted."""
        return ratio(self.right, self.predicted, undefined=0.0)

    @property
    def recall(self) -> Floats:
        """Right among true."""
        return ratio(self.right, self.true, undefined=0.0)

    @property
    def f1(self) -> Floats:
        """2 right / (true + predicted)."""
        return ratio(2 * self.right, self.true + self.predicted, undefined=0.0)

    def of(self, group: int) -> ClassCounts:
        """The counts of one class, where arrays have shape (R, G)."""
        return ClassCounts(self.right[:, group], self.true[:, group], self.predicted[:, group])

    def micro(self) -> ClassCounts:
        """All classes pooled."""
        return ClassCounts(self.right.sum(axis=1), self.true.sum(axis=1), self.predicted.sum(axis=1))

    def macro(self, score: str) -> Floats:
        """The mean of `precision`, `recall` or `f1` over the classes of which a row has a true or a predicted example."""
        seen_RG = (self.true + self.predicted) > 0
        values_RG: Floats = getattr(self, score)
        return ratio((values_RG * seen_RG).sum(axis=1), seen_RG.sum(axis=1).astype(np.float64))

    def weighted(self, score: str) -> Floats:
        """The mean over classes, each weighted by how often it is true."""
        values_RG: Floats = getattr(self, score)
        return ratio((values_RG * self.true).sum(axis=1), self.true.sum(axis=1))
