"""What the page says about repeated trainings and evaluations: plain data, parts of `model.Report`."""

from __future__ import annotations

from pydantic import Field

from lmpipe.base.config import Config


class Number(Config):
    """One number of a table, with the ends of its interval where it has one."""

    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None


class RepeatRow(Config):
    """One line: a statistic, a fold, a share of the data, a change of the text."""

    name: str
    numbers: list[Number | None]
    """As many as there are columns."""


class RepeatChart(Config):
    """A line through what was measured, and one through what was fitted."""

    title: str
    unit: str
    position_unit: str
    positions: list[float]
    measured: list[float | None]
    fitted: list[float | None] = Field(default_factory=list)


class Repeats(Config):
    """One repeated evaluation."""

    subject: str
    """Such as `reviews.test`."""
    title: str
    """Such as `3 training seeds`."""
    note: str
    """How it was made, in a sentence or two."""
    columns: list[str]
    rows: list[RepeatRow]
    chart: RepeatChart | None = None
