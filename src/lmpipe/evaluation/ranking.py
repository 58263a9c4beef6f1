"""AUROC and average precision of scores, with ties, for weighted examples."""

from __future__ import annotations

import numpy as np

from lmpipe.evaluation.bootstrap import Floats
from lmpipe.evaluation.weighting import Booleans, ratio


class Ranking:
    """A yes-or-no question whose examples are ranked by a score; sorted once, for any number of weightings.

    Both numbers are sums over the positive examples alone, and of 150 classes each has few: so only one running sum goes over
    all examples, and everything else over the distinct scores that positives have (P of them).
    """

    def __init__(self, positive_N: Booleans, score_N: Floats) -> None:
        self._order = np.argsort(score_N, kind="stable")
        ordered = score_N[self._order]
        last_of_tie = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        places = np.flatnonzero(positive_N[self._order])
        ties, self._first = np.unique(np.searchsorted(last_of_tie, places), return_index=True)
        self._positives = self._order[places]
        self._upto = last_of_tie[ties] + 1
        self._before = np.where(ties > 0, last_of_tie[ties - 1] + 1, 0)

    def scores(self, weights_RN: Floats) -> tuple[Floats, Floats]:
        """AUROC and average precision, shapes (R,).

        AUROC is the chance that a positive example has a higher score than a negative one, ties counting one half: NaN where a
        row has no positive or no negative example. Average precision is the sum over thresholds of (gain in recall) times
        precision, not interpolated: NaN where a row has no positive example.
        """
        rows, examples = weights_RN.shape
        if len(self._first) == 0:
            return np.full(rows, np.nan), np.full(rows, np.nan)
        running = np.zeros((rows, examples + 1))
        np.cumsum(weights_RN[:, self._order], axis=1, out=running[:, 1:])
        positive_RP = np.add.reduceat(weights_RN[:, self._positives], self._first, axis=1)
        before_RP, upto_RP, total_R = running[:, self._before], running[:, self._upto], running[:, -1]
        lower_RP = np.cumsum(positive_RP, axis=1) - positive_RP
        positives_R = positive_RP.sum(axis=1)
        tied_RP = upto_RP - before_RP - positive_RP
        below_RP = before_RP - lower_RP + tied_RP / 2
        auroc = ratio((positive_RP * below_RP).sum(axis=1), positives_R * (total_R - positives_R))
        right_RP = positives_R[:, None] - lower_RP
        precision_RP = ratio(right_RP, total_R[:, None] - before_RP, undefined=0.0)
        return auroc, ratio((positive_RP * precision_RP).sum(axis=1), positives_R)
