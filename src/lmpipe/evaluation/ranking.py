"""AUROC and average precision of scores, with ties, for weighted examples."""

from __future__ import annotations

import numpy as np

from lmpipe.evaluation.bootstrap import Floats
from lmpipe.evaluation.weighting import Booleans, ratio


class Ranking:
    """A yes-or-no question whose examples are ranked by a score; sorted once, for any number of weightings."""

    def __init__(self, positive_N: Booleans, score_N: Floats) -> None:
        self._order = np.argsort(score_N, kind="stable")
        ordered = score_N[self._order]
        self._last_of_tie = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        self._positive = positive_N[self._order]

    def _tied_sums(self, weights_RN: Floats) -> tuple[Floats, Floats]:
        """Weights of positives and of negatives at each distinct score, lowest score first: shapes (R, ties)."""
        ordered_RN = weights_RN[:, self._order]
        running = [np.cumsum(ordered_RN * chosen, axis=1)[:, self._last_of_tie] for chosen in (self._positive, ~self._positive)]
        positives, negatives = (np.diff(sums, axis=1, prepend=0.0) for sums in running)
        return positives, negatives

    def auroc(self, weights_RN: Floats) -> Floats:
        """The chance that a positive example has a higher score than a negative one, ties counting one half.

        NaN where a row has no positive or no negative example.
        """
        positives, negatives = self._tied_sums(weights_RN)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        return ratio((positives * below).sum(axis=1), positives.sum(axis=1) * negatives.sum(axis=1))

    def average_precision(self, weights_RN: Floats) -> Floats:
        """Sum over thresholds of (gain in recall) x precision, not interpolated; NaN where a row has no positive example."""
        positives, negatives = (sums[:, ::-1] for sums in self._tied_sums(weights_RN))
        right = np.cumsum(positives, axis=1)
        precision = ratio(right, right + np.cumsum(negatives, axis=1), undefined=0.0)
        return ratio((positives * precision).sum(axis=1), positives.sum(axis=1))
