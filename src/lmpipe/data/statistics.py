"""What the selection did to the scores: histograms before and after, documents that a bound nearly dropped, sizes of clusters.

    measures   part-*.parquet --.
    dropped    dropped.parquet --+--> plain data for the data card; numbers and ids only
    duplicates part-*.parquet --'

Nothing is computed from text, and one row group is held at a time. `dropped.parquet` lists documents in the order of the
corpus, so one pass beside the scores tells who stayed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lmpipe.data.documents import opened, parts_of, read_tables, tables_of
from lmpipe.data.filters.bounds import Rule

BINS = 24
NEAREST = 5
WIDE = 50.0
"""A score whose largest value is so many times its median is shown on a logarithmic axis."""
SHOWN_CHARACTERS = 80
Values = npt.NDArray[np.float64]


def score_histograms(measures: Path, dropped: Path) -> dict[str, Any]:
    """How each score is distributed before and after the selection.

    Args:
        measures: folder with scores.
        dropped: the selection's list of dropped documents.

    Returns:
        {score: {scale, edges (n + 1), before (n), after (n)}}; scores that are the same everywhere are left out.
    """
    ranges, scores = _ranges(measures), _scores(measures)
    edges = {score: _edges(*ends, whole=scores[score]) for score, ends in ranges.items() if ends[0] < ends[1]}
    before = {score: np.zeros(len(cuts) - 1, np.int64) for score, cuts in edges.items()}
    after = {score: np.zeros(len(cuts) - 1, np.int64) for score, cuts in edges.items()}
    for table, stays in _with_fate(measures, dropped):
        for score, cuts in edges.items():
            values = _column(table, score)
            before[score] += _counted(values, cuts)
            after[score] += _counted(values[stays], cuts)
    return {
        score: {
            "scale": _scale(*ranges[score]),
            "edges": [float(f"{edge:.6g}") for edge in edges[score]],
            "before": before[score].tolist(),
            "after": after[score].tolist(),
        }
        for score in edges
    }


def nearest_kept(measures: Path, dropped: Path, rules: Sequence[Rule]) -> dict[str, list[dict[str, Any]]]:
    """The documents that stayed and came nearest to each bound: {rule: [{id, value}]}, nearest first."""
    found: dict[str, list[tuple[float, str, float]]] = {rule.name: [] for rule in rules}
    for table, stays in _with_fate(measures, dropped):
        ids = table.column("id")
        for rule in rules:
            if rule.score in table.column_names and rule.one_of is None:
                values = _column(table, rule.score)
                found[rule.name] = _merged(found[rule.name], _distances(rule, values, stays), values, ids)
    return {name: [{"id": identity, "value": value} for _, identity, value in rows] for name, rows in found.items() if rows}


def clusters(duplicates: Path) -> dict[str, Any]:
    """Sizes of clusters of documents that repeat one another, the one that stayed counted in.

    Returns:
        sizes: {size: clusters}; largest: [{id, documents}], a few. Empty where nothing repeats.
    """
    copies = Counter[str]()
    for table in read_tables(duplicates, ["duplicate_of"]):
        copies.update(table.column("duplicate_of").drop_null().to_pylist())
    sizes = Counter(count + 1 for count in copies.values())
    largest = sorted(copies.items(), key=lambda item: (-item[1], item[0]))[:NEAREST]
    return {
        "sizes": {str(size): sizes[size] for size in sorted(sizes)},
        "largest": [{"id": identity[:SHOWN_CHARACTERS], "documents": count + 1} for identity, count in largest],
    }


def _scores(measures: Path) -> dict[str, bool]:
    """The columns that hold one number for each document, and whether it is a whole one; others are never read."""
    part = next(iter(parts_of(measures)), None)
    if part is None:
        return {}
    with opened(part) as file:
        fields = list(file.schema_arrow)
    numbers = [field for field in fields if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)]
    return {field.name: pa.types.is_integer(field.type) for field in numbers}


def _column(table: Any, score: str) -> Values:
    return np.asarray(table.column(score).to_numpy(zero_copy_only=False), dtype=np.float64)


def _ranges(measures: Path) -> dict[str, tuple[float, float, float]]:
    """(least, greatest, greatest of the row groups' medians) of every score."""
    found: dict[str, tuple[float, float, float]] = {}
    scores = list(_scores(measures))
    for table in read_tables(measures, scores):
        for score in scores:
            values = _column(table, score)
            values = values[np.isfinite(values)]
            if len(values):
                low, high, middle = found.get(score, (math.inf, -math.inf, 0.0))
                ends = min(low, float(values.min())), max(high, float(values.max()))
                found[score] = (*ends, max(middle, float(np.median(values))))
    return found


def _scale(low: float, high: float, median: float) -> str:
    return "log" if low >= 1 and high > WIDE * max(median, 1) / 5 and high / low > WIDE else "linear"


def _edges(low: float, high: float, median: float, *, whole: bool) -> Values:
    """Ends of the bins. A few whole numbers have a bin each; a share from 0 to 1 is not taken for two whole numbers."""
    if _scale(low, high, median) == "log":
        return np.geomspace(low, high, BINS + 1)
    if whole and high - low < BINS:
        return np.arange(low, high + 2) - 0.5
    return np.linspace(low, high, BINS + 1)


def _counted(values: Values, edges: Values) -> npt.NDArray[np.int64]:
    inside = np.clip(values[np.isfinite(values)], edges[0], edges[-1])
    return np.histogram(inside, edges)[0]


def _with_fate(measures: Path, dropped: Path) -> Iterator[tuple[Any, npt.NDArray[np.bool_]]]:
    """Row groups of scores, each with whether its documents stayed."""
    gone = (identity for table in tables_of(dropped, ["id"]) for identity in table.column("id").to_pylist())
    waiting = next(gone, None)
    for table in read_tables(measures, ["id", *_scores(measures)]):
        stays = np.ones(table.num_rows, bool)
        for row, identity in enumerate(table.column("id").to_pylist()):
            if identity == waiting:
                stays[row] = False
                waiting = next(gone, None)
        yield table, stays


def _distances(rule: Rule, values: Values, stays: npt.NDArray[np.bool_]) -> Values:
    """How far inside its bound each document is; infinite for those that went."""
    distance = values - rule.at_least if rule.at_least is not None else (rule.at_most or 0.0) - values
    return np.where(stays & np.isfinite(values) & (distance >= 0), distance, math.inf)


def _merged(
    known: list[tuple[float, str, float]], distances: Values, values: Values, ids: Any
) -> list[tuple[float, str, float]]:
    rows = np.argsort(distances, kind="stable")[:NEAREST]
    fresh = [
        (float(distances[row]), ids[int(row)].as_py()[:SHOWN_CHARACTERS], float(values[row]))
        for row in rows
        if math.isfinite(distances[row])
    ]
    return sorted([*known, *fresh], key=lambda entry: entry[0])[:NEAREST]


def bounds_of(rules: Sequence[Rule]) -> dict[str, Mapping[str, Any]]:
    """{rule: {score, at_least, at_most}}: the recipe's bounds as plain data."""
    return {
        rule.name: {"score": rule.score, "at_least": rule.at_least, "at_most": rule.at_most}
        for rule in rules
        if rule.one_of is None
    }
