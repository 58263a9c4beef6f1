"""Ranked results of queries: recall at k, nDCG at k, mean reciprocal rank.

nDCG takes gains as they are (Jarvelin and Kekalainen 2002; scikit-learn and trec_eval do the same), not 2^gain - 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from lmpipe.base.errors import SourceError
from lmpipe.evaluation.bootstrap import Floats
from lmpipe.evaluation.weighting import weighted_mean

SCHEMA = {"prediction": pa.list_(pa.float64()), "label": pa.list_(pa.float64())}


def retrieved(gains: Sequence[Sequence[float]], relevant: Sequence[Sequence[float]]) -> dict[str, Sequence[object]]:
    """Columns for a batch of per-query results.

    Args:
        gains: for each query the gain of each item that was found, in the order of the ranking; 0: not relevant.
        relevant: for each query the gains of all relevant items there are, found or not, in any order.

    Raises:
        SourceError: when a query has nothing relevant, which makes its recall undefined.
    """
    if any(max(known, default=0) <= 0 for known in relevant):
        raise SourceError("a query has no relevant item", expected="at least one gain above zero for each query")
    return {"prediction": [list(row) for row in gains], "label": [sorted(row, reverse=True) for row in relevant]}


class Retrieval:
    """Gains of N ranked lists."""

    def __init__(self, gains: Sequence[Sequence[float]], relevant: Sequence[Sequence[float]], at: Sequence[int]) -> None:
        pairs = list(zip(gains, relevant, strict=True))
        self._values: dict[str, Floats] = {}
        for k in at:
            self._values[f"recall_at_{k}"] = np.array([_recall(found, known, k) for found, known in pairs], dtype=np.float64)
        for k in at:
            ndcg = [_discounted(found, k) / _discounted(sorted(known, reverse=True), k) for found, known in pairs]
            self._values[f"ndcg_at_{k}"] = np.array(ndcg, dtype=np.float64)
        self._values["mrr"] = np.array([_reciprocal_rank(found) for found in gains], dtype=np.float64)

    @property
    def count(self) -> int:
        """How many queries there are."""
        return len(self._values["mrr"])

    def zero_one(self) -> dict[str, Floats]:
        """Nothing: recall of one query may be a fraction."""
        return {}

    def values(self, weights_RN: Floats) -> dict[str, Floats]:
        """Every statistic for each row of weights."""
        return {name: weighted_mean(weights_RN, values_N) for name, values_N in self._values.items()}


def _recall(gains: Sequence[float], relevant: Sequence[float], k: int) -> float:
    return sum(gain > 0 for gain in gains[:k]) / sum(gain > 0 for gain in relevant)


def _discounted(gains: Sequence[float], k: int) -> float:
    return sum(gain / float(np.log2(place + 2)) for place, gain in enumerate(gains[:k]))


def _reciprocal_rank(gains: Sequence[float]) -> float:
    return next((1 / (place + 1) for place, gain in enumerate(gains) if gain > 0), 0.0)
