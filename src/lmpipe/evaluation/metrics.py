"""From sums to metrics: bits per byte, perplexity and next-token accuracy with bootstrap intervals.

Bits per byte counts everything a decoder of the text would need, the end of each document included, and does not depend on the
tokenizer; perplexity and accuracy are per token of this tokenizer and compare only models that share it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lmpipe.base.measures import Direction, Metric
from lmpipe.evaluation.bootstrap import Floats, Resampling, interval_of, resampled_totals
from lmpipe.evaluation.compression import Compressed
from lmpipe.evaluation.config import metric_name


@dataclass(frozen=True)
class StatisticKind:
    """How one statistic is made of two sums."""

    numerator: str
    denominator: str
    transform: Callable[[Floats], Floats]
    unit: str
    direction: Direction


def _identity(ratio: Floats) -> Floats:
    return ratio


def _bits(ratio: Floats) -> Floats:
    return ratio / math.log(2)


KINDS: dict[str, StatisticKind] = {
    "bits_per_byte": StatisticKind("nats", "bytes", _bits, "bits/byte", "lower"),
    "perplexity": StatisticKind("nats", "tokens", np.exp, "per token", "lower"),
    "next_token_accuracy": StatisticKind("correct", "tokens", _identity, "fraction", "higher"),
}


def statistic(kind: str, totals: dict[str, Floats]) -> Floats:
    """The statistic for each entry of `totals`.

    >>> float(statistic("bits_per_byte", {"nats": np.array([math.log(2)]), "bytes": np.array([0.5])})[0])
    2.0
    """
    how = KINDS[kind]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return how.transform(totals[how.numerator] / totals[how.denominator])


def metrics_of(
    columns_U: dict[str, Floats], resampling: Resampling, *, corpus: str, split: str, baseline: str = ""
) -> list[Metric]:
    """Every metric that the columns allow, each with its interval.

    Args:
        columns_U: `bytes`, `tokens`, `nats` and, for accuracy, `correct`: one entry per resampled unit.
        resampling: how intervals are made.
        corpus: first part of the names.
        split: second part of the names.
        baseline: third part of the names, for a baseline.
    """
    names = list(columns_U)
    units = len(columns_U["nats"])
    totals_RC = resampled_totals(np.stack([columns_U[name] for name in names], axis=1), resampling)
    resampled = {name: totals_RC[:, column] for column, name in enumerate(names)}
    totals = {name: columns_U[name].sum(keepdims=True) for name in names}
    metrics = []
    for kind, how in KINDS.items():
        if how.numerator not in totals or how.denominator not in totals:
            continue
        metrics.append(
            Metric(
                name=metric_name(corpus, split, kind, baseline),
                value=float(statistic(kind, totals)[0]),
                unit=how.unit,
                direction=how.direction,
                interval=interval_of(statistic(kind, resampled), units, resampling),
                count=int(totals[how.denominator][0]),
                count_unit=how.denominator,
            )
        )
    return metrics


def compression_metric(compressed: Compressed, *, corpus: str, split: str) -> Metric:
    """The compressor's number; it has no interval, because compressed sizes of parts do not add up to that of the whole."""
    return Metric(
        name=metric_name(corpus, split, "bits_per_byte", "xz"),
        value=compressed.bits_per_byte,
        unit="bits/byte",
        direction="lower",
        count=compressed.bytes_in,
        count_unit="bytes",
    )
