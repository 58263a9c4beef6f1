"""What evaluation and audits produce, and gates, reports and cards read: numbers that carry their own doubt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lmpipe.base.config import Config
from lmpipe.base.files import read_json, write_json

Direction = Literal["lower", "higher", "none"]


class Interval(Config):
    """A confidence interval and how it was made."""

    low: float
    high: float
    level: float = 0.95
    method: str
    """Such as `bootstrap over 120 documents, 1000 resamples, seed 7`."""


class Metric(Config):
    """One measured number of one model on one data set."""

    name: str
    """Dotted, unique within a run: `corpus.test.bits_per_byte`, `corpus.test.ngram.bits_per_byte`."""
    value: float
    unit: str
    direction: Direction
    """Which way is better."""
    interval: Interval | None = None
    count: int
    """Over how many items (documents, tokens, ...) it was taken."""
    count_unit: str


METRICS = "metrics.json"


def write_metrics(folder: Path, metrics: Sequence[Metric]) -> None:
    """Write `metrics.json` into a folder."""
    write_json(folder / METRICS, [metric.model_dump(mode="json") for metric in metrics])


def read_metrics(folder: Path) -> list[Metric]:
    """The numbers that `write_metrics` left there."""
    return [Metric.model_validate(value) for value in read_json(folder / METRICS)]


class Finding(Config):
    """One answer of an audit. `limits` is required: what this number does not show."""

    name: str
    """Dotted, unique within a run: `memorization.extractable`, `energy.wh`."""
    value: float
    unit: str
    direction: Direction
    interval: Interval | None = None
    threshold: float | None = None
    """The value that the field's practice or the recipe holds acceptable, where there is one."""
    samples: list[dict[str, Any]] = Field(default_factory=list)
    """A few examples behind the number; never raw personal data."""
    method: str
    """How it was measured, with its source."""
    limits: str
    """What this number does not show."""


class Requirement(Config):
    """What a gate asks of one number, and how it came out."""

    subject: str
    """The name of the metric or finding."""
    value: float | None
    low: float | None = None
    high: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    verdict: Literal["GO", "NO-GO", "INCONCLUSIVE"]
    reason: str


class Verdict(Config):
    """The gate's answer: NO-GO if any requirement is, else INCONCLUSIVE if any is, else GO."""

    verdict: Literal["GO", "NO-GO", "INCONCLUSIVE"]
    requirements: list[Requirement]
