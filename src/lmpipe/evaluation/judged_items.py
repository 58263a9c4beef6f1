"""What a judge said of two models' answers to the same prompts, pair by pair: `verdicts.parquet`.

A model's score on a pair is 1 for a win over the reference, a half for a tie, 0 for a loss; there is none where a verdict is
missing. The win rate is the mean of what is there. Both models are taken on the same drawn prompts.
Legend of shape suffixes: N prompts, R rows of weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from lmpipe.base.measures import Interval
from lmpipe.evaluation.bootstrap import Floats, Resampling, interval_of, resampled_totals
from lmpipe.evaluation.judging import SCORES
from lmpipe.evaluation.significance import approximate_randomization
from lmpipe.evaluation.weighting import ratio, weighted_sum

VERDICTS = "verdicts.parquet"
WIN_RATE = "win_rate"


@dataclass(frozen=True)
class Scores:
    """One model's answers to the prompts of a file, in its order."""

    digests: tuple[str, ...]
    """Of prompt, reference, criteria and judge."""
    sums_N2: Floats
    """The score (0 where there is none), and whether there is one."""


def read_scores(folder: Path) -> Scores:
    """The model's side of a judged evaluation."""
    columns = ["of", "item_sha256", "verdict"]
    rows = [row for row in pq.read_table(folder / VERDICTS, columns=columns).to_pylist() if row["of"] == "model"]
    verdicts = [row["verdict"] for row in rows]
    sums = [(SCORES[verdict], 1.0) if verdict else (0.0, 0.0) for verdict in verdicts]
    return Scores(tuple(row["item_sha256"] for row in rows), np.array(sums, np.float64).reshape(-1, 2))


def paired_interval(first: Scores, second: Scores, resampling: Resampling) -> Interval | None:
    """Of the second model's win rate less the first's."""
    paired = Resampling(resampling.resamples, resampling.level, resampling.seed, "pairs of answers to one prompt")
    totals_R4 = resampled_totals(np.concatenate((first.sums_N2, second.sums_N2), axis=1), paired)
    difference_R = ratio(totals_R4[:, 2], totals_R4[:, 3]) - ratio(totals_R4[:, 0], totals_R4[:, 1])
    return interval_of(difference_R, len(first.digests), paired)


def paired_test(first: Scores, second: Scores, resampling: Resampling) -> float:
    """Two-sided p of that difference, the answers to each prompt exchanged at random."""
    both_N2 = np.concatenate((first.sums_N2, second.sums_N2))

    def values(weights_RN: Floats) -> dict[str, Floats]:
        return {WIN_RATE: ratio(*(weighted_sum(weights_RN, column_N) for column_N in both_N2.T))}

    shuffles, seed = resampling.resamples, resampling.seed
    return approximate_randomization(values, len(first.digests), shuffles=shuffles, seed=seed)[WIN_RATE]
