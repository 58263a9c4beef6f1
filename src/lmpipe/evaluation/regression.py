"""A number for each text: MAE, RMSE, R2, Pearson's and Spearman's correlation.

R2 and correlations are not defined where truth (or prediction) does not vary, and are then left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from lmpipe.base.errors import ModelError
from lmpipe.evaluation.bootstrap import Floats
from lmpipe.evaluation.lengths import check_lengths
from lmpipe.evaluation.weighting import ratio, weighted_mean

SCHEMA = {"label": pa.float64(), "prediction": pa.float64()}


def regressed(labels: Sequence[float], predictions: Sequence[float]) -> dict[str, Sequence[object]]:
    """Columns for a batch of per-example results.

    Raises:
        SourceError: when there are more or fewer predictions than true values.
        ModelError: when a prediction is not a finite number.
    """
    check_lengths(predictions, labels=labels)
    broken = np.flatnonzero(~np.isfinite(np.asarray(predictions, dtype=np.float64)))
    if len(broken):
        raise ModelError(
            f"{len(broken):,} of {len(predictions):,} predicted values are not finite numbers",
            where=f"example {broken[0]} of the batch",
            expected="a finite number for each example",
            fix="train again with a lower optimizer.lr, or in precision: fp32",
        )
    return {"label": [float(v) for v in labels], "prediction": [float(v) for v in predictions]}


class Regression:
    """True and predicted values of N examples."""

    def __init__(self, labels_N: Floats, predictions_N: Floats) -> None:
        self._labels, self._predictions = labels_N, predictions_N
        self._error = predictions_N - labels_N

    @classmethod
    def from_table(cls, table: pa.Table, classes: Sequence[str] = ()) -> Regression:
        """From the columns that `regressed` gave."""
        return cls(*(np.asarray(table[name].to_numpy(), dtype=np.float64) for name in ("label", "prediction")))

    @property
    def count(self) -> int:
        """How many examples there are."""
        return len(self._labels)

    def zero_one(self) -> dict[str, Floats]:
        """Nothing here is right or wrong."""
        return {}

    def values(self, weights_RN: Floats) -> dict[str, Floats]:
        """Every statistic for each row of weights."""
        squared = weighted_mean(weights_RN, self._error**2)
        labels_RN, predictions_RN = (values[None, :] for values in (self._labels, self._predictions))
        ranks = [_ranks(weights_RN, values) for values in (self._labels, self._predictions)]
        return {
            "mae": weighted_mean(weights_RN, np.abs(self._error)),
            "rmse": np.sqrt(squared),
            "r2": 1 - ratio(squared, _covariance(weights_RN, labels_RN, labels_RN)),
            "pearson": _correlation(weights_RN, labels_RN, predictions_RN),
            "spearman": _correlation(weights_RN, *ranks),
        }


def _covariance(weights_RN: Floats, first_RN: Floats, second_RN: Floats) -> Floats:
    total_R1 = weights_RN.sum(axis=1, keepdims=True)
    deviations = [
        values_RN - (weights_RN * values_RN).sum(axis=1, keepdims=True) / total_R1 for values_RN in (first_RN, second_RN)
    ]
    covariance_R: Floats = (weights_RN * deviations[0] * deviations[1]).sum(axis=1) / total_R1[:, 0]
    return covariance_R


def _correlation(weights_RN: Floats, first_RN: Floats, second_RN: Floats) -> Floats:
    spread = np.sqrt(_covariance(weights_RN, first_RN, first_RN)) * np.sqrt(_covariance(weights_RN, second_RN, second_RN))
    return ratio(_covariance(weights_RN, first_RN, second_RN), spread)


def _ranks(weights_RN: Floats, values_N: Floats) -> Floats:
    """The rank of each example's value within each weighted sample; tied values share the mean of their places."""
    order = np.argsort(values_N, kind="stable")
    ordered = values_N[order]
    last_of_tie = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    reached = np.cumsum(weights_RN[:, order], axis=1)[:, last_of_tie]
    middle = reached - np.diff(reached, axis=1, prepend=0.0) / 2 + 0.5
    tie_of_N = np.empty(len(order), dtype=np.int64)
    tie_of_N[order] = np.searchsorted(last_of_tie, np.arange(len(order)))
    ranks_RN: Floats = middle[:, tie_of_N]
    return ranks_RN
