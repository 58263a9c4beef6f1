"""What tasks of the harness gave for each item, and the numbers that are made of it: `items.parquet`.

One row for each item, metric and filter: `value`, or of ratios its numerator and the `weight` that it is divided by. It is
enough to make every interval again, and to set two models against each other item by item.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lmpipe.base.files import atomic_file
from lmpipe.base.measures import Interval
from lmpipe.evaluation.bootstrap import Floats, Resampling, interval_of, resampled_totals
from lmpipe.evaluation.intervals import wilson
from lmpipe.evaluation.significance import mcnemar
from lmpipe.evaluation.suite_config import metric_name

ITEMS = "items.parquet"
NUMBERS = {"item": pa.int64(), "value": pa.float64(), "weight": pa.float64()}
COLUMNS = ("task", "item", "item_sha256", "metric", "filter", "value", "weight")
TRANSFORMS: dict[str, Callable[[Floats], Floats]] = {
    "bits_per_byte": lambda mean: -mean / math.log(2),
    "byte_perplexity": lambda mean: np.exp(-mean),
    "word_perplexity": lambda mean: np.exp(-mean),
    "perplexity": lambda mean: np.exp(-mean),
}
"""What is made of the mean log probability (per byte, per word, per item) where the number is not the mean itself."""


@dataclass(frozen=True)
class Items:
    """One metric of one task: its items in order."""

    metric: str
    digests: tuple[str, ...]
    sums_N2: Floats
    """Values and weights."""

    def right(self) -> bool:
        """Whether every item is right (1) or wrong (0), so that the number is a share of items."""
        plain = self.metric not in TRANSFORMS and bool((self.sums_N2[:, 1] == 1).all())
        return plain and bool(np.isin(self.sums_N2[:, 0], (0, 1)).all())

    def of(self, totals_RC: Floats) -> Floats:
        """The number for each row of summed values and weights."""
        mean_R: Floats = totals_RC[:, 0] / totals_RC[:, 1]
        return TRANSFORMS[self.metric](mean_R) if self.metric in TRANSFORMS else mean_R

    def value(self) -> float:
        """The number over all items."""
        return float(self.of(self.sums_N2.sum(axis=0, keepdims=True))[0])

    def interval(self, resampling: Resampling) -> Interval | None:
        """Wilson's of a share, otherwise a bootstrap over items."""
        if self.right():
            return wilson(int(self.sums_N2[:, 0].sum()), len(self.sums_N2), resampling.level)
        return interval_of(self.of(resampled_totals(self.sums_N2, resampling)), len(self.sums_N2), resampling)


def write_items(folder: Path, samples: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Write `items.parquet` from the harness's samples (task -> its items): what is no number is left out."""
    rows = []
    for task, items in samples.items():
        for item in items:
            for metric in item["metrics"]:
                value = item[metric]
                pair = value if isinstance(value, tuple | list) and len(value) == 2 else (value, 1)
                if all(isinstance(part, int | float | np.number) for part in pair):
                    known = (task, int(item["doc_id"]), item["doc_hash"], metric, item["filter"])
                    rows.append(dict(zip(COLUMNS, (*known, float(pair[0]), float(pair[1])), strict=True)))
    schema = pa.schema([(name, NUMBERS.get(name, pa.string())) for name in COLUMNS])
    with atomic_file(folder / ITEMS) as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), file, compression="zstd")


def read_items(folder: Path) -> dict[str, Items]:
    """What `write_items` wrote, by the names of the metrics."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in pq.read_table(folder / ITEMS).to_pylist():
        found.setdefault(metric_name(row["task"], row["metric"], row["filter"]), []).append(row)
    return {
        name: Items(
            rows[0]["metric"],
            tuple(row["item_sha256"] for row in rows),
            np.array([(row["value"], row["weight"]) for row in rows], np.float64),
        )
        for name, rows in found.items()
    }


def paired_interval(first: Items, second: Items, resampling: Resampling) -> Interval | None:
    """Of second less first, both on the same resampled items."""
    paired = Resampling(resampling.resamples, resampling.level, resampling.seed, "pairs of items")
    totals = resampled_totals(np.concatenate((first.sums_N2, second.sums_N2), axis=1), paired)
    return interval_of(second.of(totals[:, 2:]) - first.of(totals[:, :2]), len(first.digests), paired)


def paired_test(first: Items, second: Items) -> float | None:
    """Exact McNemar's p of two shares of right items; None of other numbers."""
    if not (first.right() and second.right()):
        return None
    return mcnemar(first.sums_N2[:, 0] == 1, second.sums_N2[:, 0] == 1)
