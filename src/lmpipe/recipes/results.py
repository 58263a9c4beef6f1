"""What came out of a run, read back from the store: records, metrics, findings, verdict, bundle. Computes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from lmpipe.base.errors import RecipeError
from lmpipe.base.files import read_json
from lmpipe.base.measures import Finding, Metric, Verdict
from lmpipe.pipeline.record import Record
from lmpipe.pipeline.runs import RunEntry, RunRecord, find_run, list_run_records
from lmpipe.pipeline.store import Store, open_store

REPORT = "report.html"


@dataclass
class Run:
    """One run of one recipe.

    In a notebook its cell shows the numbers and the verdict.
    """

    entry: RunRecord
    store: Store
    _folders: dict[str, Path] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """What identifies the run in its store."""
        return self.entry.id
