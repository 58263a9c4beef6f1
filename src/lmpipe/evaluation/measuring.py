"""From per-example results to numbers with intervals: whole test sets, slices of them, single classes.

    examples.parquet --> measured examples --> one row of ones        --> the number
                                          +--> rows of resamples      --> percentile bootstrap interval
                                          +--> shares of right ones   --> Wilson's interval instead

`measure` takes nothing but the folder, so a number in a report can be made again from the file that lies beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from lmpipe.base.config import Config
from lmpipe.base.errors import SourceError
from lmpipe.base.files import write_json
from lmpipe.base.measures import Metric, write_metrics
from lmpipe.evaluation.bootstrap import Floats, Resampling, interval_of, resampled_weights
from lmpipe.evaluation.calibration import reliability
from lmpipe.evaluation.catalogue import COUNT_UNITS, describe, statistic_names
from lmpipe.evaluation.classification import Classification
from lmpipe.evaluation.examples import EXAMPLES, SLICE_PREFIX, ExampleLayout, Examples, read_column, read_examples
from lmpipe.evaluation.generation import distinct
from lmpipe.evaluation.intervals import wilson
from lmpipe.evaluation.mauve import GENERATED, REFERENCE, mauve
from lmpipe.evaluation.weighting import Booleans, Measured, ones

SMALL = 30
"""Below this many examples a slice is marked: a share of 30 is known to within 17 points at best (Wilson, 95%)."""
MOST_SLICES = 50
"""Values of one column that are measured by themselves; the others, the rarest, are measured together."""
OTHERS = "(other values)"
LENGTH_BUCKETS = 4


class Slice(Config):
    """Some of the examples, and the numbers for them alone."""

    by: str
    """The column, `length`, or `class`."""
    value: str
    count: int
    small: bool
    """Too few examples to say much."""
    metrics: list[Metric]


def evaluate_examples(folder: Path) -> list[Metric]:
    """Measure a finished `examples.parquet` and write what follows from it: `metrics.json`, `slices.json`, and for
    classification `confusion.json` and `reliability.json`.

    Returns:
        What stands in `metrics.json`.
    """
    metrics = measure(folder)
    write_metrics(folder, metrics)
    slices = measure_slices(folder) + measure_classes(folder)
    write_json(folder / "slices.json", [one.model_dump(mode="json") for one in slices])
    measured = read_examples(folder).measured()
    if isinstance(measured, Classification):
        matrix = {
            "classes": list(measured.classes),
            "rows": "true",
            "columns": "predicted",
            "counts": measured.confusion().tolist(),
        }
        write_json(folder / "confusion.json", matrix)
        if (sure := measured.confidence) is not None:
            bars = reliability(sure, measured.right)
            write_json(folder / "reliability.json", [bar.model_dump(mode="json") for bar in bars])
    return metrics


def measure(folder: Path) -> list[Metric]:
    """Every number of an evaluation, from its per-example results alone.

    Raises:
        SourceError: when the folder holds none.
    """
    examples = read_examples(folder)
    metrics = {metric.name: metric for metric in metrics_of(examples.measured(), examples.layout)}
    if examples.layout.kind == "generation":
        for order in (1, 2):
            value = distinct(read_column(folder, "prediction"), order)
            if value is not None:
                metric = _metric(examples.layout, f"distinct_{order}", value, examples.count)
                metrics[metric.name] = metric
        if (near := _nearness(examples)) is not None:
            metrics[near.name] = near
    names = [f"{examples.layout.subject}.{name}" for name in statistic_names(examples.layout.kind, examples.layout.at)]
    return [metrics[name] for name in names if name in metrics]


def _nearness(examples: Examples) -> Metric | None:
    """MAUVE, where texts and references were put into clusters."""
    sides = [examples.table[name] for name in (GENERATED, REFERENCE)]
    if examples.count == 0 or any(side.null_count for side in sides):
        return None
    generated_N, reference_N = (np.asarray(side.to_numpy(), np.int64) for side in sides)
    value, interval = mauve(generated_N, reference_N, examples.layout.resampling)
    return _metric(examples.layout, "mauve", value, examples.count).model_copy(update={"interval": interval})


def _metric(layout: ExampleLayout, statistic: str, value: float, count: int) -> Metric:
    described = describe(layout.kind, statistic)
    return Metric(
        name=f"{layout.subject}.{statistic}",
        value=value,
        unit=described.unit,
        direction=described.direction,
        count=count,
        count_unit=COUNT_UNITS[layout.kind],
    )


def metrics_of(measured: Measured, layout: ExampleLayout) -> Iterator[Metric]:
    """Every number that results give, with its interval."""
    right = measured.zero_one()
    values = measured.values(ones(measured.count))
    resampled = resampled_values(measured.values, measured.count, layout.resampling)
    for name in statistic_names(layout.kind, layout.at):
        if name not in values or not math.isfinite(value := float(values[name][0])):
            continue
        interval = interval_of(resampled[name], measured.count, layout.resampling)
        if name in right:
            interval = wilson(int(right[name].sum()), measured.count, layout.level)
        yield _metric(layout, name, value, measured.count).model_copy(update={"interval": interval})


def resampled_values(values: Callable[[Floats], dict[str, Floats]], count: int, resampling: Resampling) -> dict[str, Floats]:
    """Every statistic for each bootstrap resample of `count` examples: shapes (resamples,)."""
    chunks = [values(weights_RN) for weights_RN in resampled_weights(count, resampling)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def measure_slices(folder: Path, *, length_buckets: int = LENGTH_BUCKETS) -> list[Slice]:
    """The numbers of each value of each slice column, and of each quarter of the examples by the length of their text."""
    examples = read_examples(folder)
    found = []
    for by, value, chosen_N in _slices(examples, length_buckets):
        part = examples.only(chosen_N)
        metrics = list(metrics_of(part.measured(), part.layout))
        found.append(Slice(by=by, value=value, count=part.count, small=part.count < SMALL, metrics=metrics))
    return found


def _slices(examples: Examples, length_buckets: int) -> Iterator[tuple[str, str, Booleans]]:
    for by in examples.layout.slices:
        values_N = np.array([value or "" for value in examples.table[SLICE_PREFIX + by].to_pylist()], dtype=object)
        counts = {item["values"]: item["counts"] for item in pc.value_counts(values_N.tolist()).to_pylist()}
        names = sorted(counts, key=lambda value: (-counts[value], value))
        for name in names[:MOST_SLICES]:
            yield by, name, values_N == name
        if len(names) > MOST_SLICES:
            yield by, OTHERS, np.isin(values_N, names[MOST_SLICES:])
    lengths = examples.table["text_characters"]
    if lengths.null_count == 0 and examples.count >= length_buckets:
        yield from _by_length(np.asarray(lengths.to_numpy()), length_buckets)


def _by_length(lengths_N: np.ndarray[tuple[int, ...], np.dtype[np.int64]], buckets: int) -> Iterator[tuple[str, str, Booleans]]:
    inner = np.unique(np.quantile(lengths_N, np.arange(1, buckets) / buckets, method="inverted_cdf"))
    bucket_N = np.searchsorted(inner, lengths_N, side="left")
    for bucket in np.unique(bucket_N):
        inside = lengths_N[bucket_N == bucket]
        yield "length", f"{inside.min()} to {inside.max()} characters", bucket_N == bucket


def measure_classes(folder: Path) -> list[Slice]:
    """Precision, recall and F1 of each class (type of entity); `count` is how many true examples (entities) it has.

    Kinds of task without classes have none.
    """
    examples = read_examples(folder)
    measured, layout = examples.measured(), examples.layout
    class_counts = getattr(measured, "class_counts", None)
    if class_counts is None:
        return []

    def scores(weights_RN: Floats) -> dict[str, Floats]:
        counts = class_counts(weights_RN)
        return {
            f"{name}\0{score}": getattr(own, score) for name, own in counts.items() for score in ("precision", "recall", "f1")
        }

    plain, resampled = scores(ones(measured.count)), resampled_values(scores, measured.count, layout.resampling)
    found = []
    for name, counts in class_counts(ones(measured.count)).items():
        metrics = [
            Metric(
                name=f"{layout.subject}.{score}.{name}",
                value=float(plain[f"{name}\0{score}"][0]),
                unit="fraction",
                direction="higher",
                interval=interval_of(resampled[f"{name}\0{score}"], measured.count, layout.resampling),
                count=measured.count,
                count_unit=COUNT_UNITS[layout.kind],
            )
            for score in ("precision", "recall", "f1")
        ]
        support = int(counts.true[0])
        found.append(Slice(by="class", value=name, count=support, small=support < SMALL, metrics=metrics))
    return found


def check_recomputed(folder: Path, metrics: list[Metric]) -> None:
    """Compare recorded numbers with those made again from the per-example results.

    Raises:
        SourceError: when one differs; names it.
    """
    again = {metric.name: metric for metric in measure(folder)}
    for metric in metrics:
        if again.get(metric.name) != metric:
            raise SourceError(
                f"{metric.name} is recorded as {metric.value!r}, and {EXAMPLES} gives "
                f"{again[metric.name].value if metric.name in again else 'no such number'!r}",
                where=str(folder),
                expected="the same number and interval",
            )
