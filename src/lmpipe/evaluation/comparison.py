"""Two models on one test set: their metrics side by side, and how sure the difference is.

The difference is bootstrapped in pairs: both models are taken on the same resampled documents, so what makes a document easy
for both cancels. Different test sets are refused, because a difference between them would speak of the texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmpipe.base.config import Config
from lmpipe.base.errors import RecipeError
from lmpipe.base.files import read_json
from lmpipe.base.measures import Interval, Metric
from lmpipe.evaluation.bootstrap import Resampling, interval_of, resampled_totals
from lmpipe.evaluation.config import SCORED_SPLITS, STATISTICS
from lmpipe.evaluation.metrics import statistic
from lmpipe.evaluation.units import Table, read_table


class Difference(Config):
    """One metric of two models."""

    name: str
    first: Metric
    second: Metric
    difference: float
    """Second minus first."""
    interval: Interval | None
    """Of the difference; none where the two cannot be paired, `note` then says why."""
    better: str
    """`first`, `second`, or `undecided` where the interval holds zero or there is none."""
    note: str = ""


@dataclass(frozen=True)
class _Side:
    metrics: dict[str, Metric]
    table: Table


def compare(first: Path, second: Path, *, resampling: Resampling | None = None) -> list[Difference]:
    """Compare two evaluations, given as output folders of `evaluate` stages.

    Raises:
        RecipeError: when they were not taken on the same texts.
    """
    resampling = resampling or Resampling()
    sides = _read(first), _read(second)
    if sides[0].table.text_digest_D != sides[1].table.text_digest_D:
        raise RecipeError(
            "the two models were evaluated on different texts, so their numbers cannot be compared",
            where=f"{first} and {second}",
            expected="the same documents in the same order",
            fix="evaluate both models on one split: equal `data:` section and seed",
        )
    names = [name for name in sides[0].metrics if name in sides[1].metrics]
    return [_difference(name, *sides, resampling) for name in names]


def _read(folder: Path) -> _Side:
    table = read_table(folder)
    metrics = [Metric.model_validate(value) for value in read_json(folder / "metrics.json")]
    return _Side({metric.name: metric for metric in metrics}, table)


def _difference(name: str, first: _Side, second: _Side, resampling: Resampling) -> Difference:
    interval, note = _paired_interval(name, first.table, second.table, resampling)
    before, after = first.metrics[name], second.metrics[name]
    return Difference(
        name=name,
        first=before,
        second=after,
        difference=after.value - before.value,
        interval=interval,
        better=_better(interval, before.direction),
        note=note,
    )


def _paired_interval(name: str, first: Table, second: Table, resampling: Resampling) -> tuple[Interval | None, str]:
    *_, before, kind = name.split(".")
    prefix = f"{before}_" if before not in SCORED_SPLITS else ""
    if kind not in STATISTICS or not all(f"{prefix}nats" in table.columns_U for table in (first, second)):
        return None, "a single number without parts to resample"
    if len(first.columns_U["bytes"]) != len(second.columns_U["bytes"]) or first.unit != second.unit:
        return None, "few documents, cut into blocks at different places by the two tokenizers: nothing to pair"
    if first.unit == "blocks" and not np.array_equal(first.columns_U["bytes"], second.columns_U["bytes"]):
        return None, "few documents, cut into blocks at different places by the two tokenizers: nothing to pair"
    values = [_resampled(kind, prefix, table, resampling) for table in (first, second)]
    paired = Resampling(resampling.resamples, resampling.level, resampling.seed, f"pairs of {first.unit}")
    return interval_of(values[1] - values[0], len(first.columns_U["bytes"]), paired), ""


def _resampled(
    kind: str, prefix: str, table: Table, resampling: Resampling
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    columns = {name: table.columns_U[name] for name in ("bytes", "tokens")}
    columns["nats"] = table.columns_U[f"{prefix}nats"]
    columns["correct"] = table.columns_U["correct"]
    totals_RC = resampled_totals(np.stack(list(columns.values()), axis=1), resampling)
    return statistic(kind, {name: totals_RC[:, column] for column, name in enumerate(columns)})


def _better(interval: Interval | None, direction: str) -> str:
    if interval is None or direction == "none" or interval.low <= 0 <= interval.high:
        return "undecided"
    return "second" if (interval.high < 0) == (direction == "lower") else "first"
