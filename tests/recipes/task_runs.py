"""What the tests of tasks ask a finished run, whose corpus is called `things`."""

from __future__ import annotations

import json
from typing import Any

import pyarrow.parquet as pq

from lmpipe.recipes.results import Run


def held_out(run: Run) -> list[dict[str, Any]]:
    """The test side's documents with their answers."""
    parts = sorted((run.folder("split-things") / "test").glob("part-*.parquet"))
    found = [row for part in parts for row in pq.read_table(part).to_pylist()]
    return [{"text": row["text"], **json.loads(row["meta"])} for row in found]


def metric(run: Run, name: str) -> float:
    return next(metric.value for metric in run.metrics if metric.name == f"things.test.{name}")
