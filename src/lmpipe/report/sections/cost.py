"""What it cost: time, processor time, memory, energy, stage by stage; and what had been predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lmpipe.report.axes import Axis, time_axis
from lmpipe.report.charts import BarStyle, bar, tick_labels
from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.model import Prediction, Report, Stage
from lmpipe.report.numbers import NOT_RECORDED, count, duration, ratio, size, watt_hours, with_unit
from lmpipe.report.parts import Section, facts
from lmpipe.report.tables import Cell, Column, table

MOST_IDLE = 2.0
"""A timeline by the clock is drawn while its span is at most this many times the working time; a run resumed the next morning
is drawn end to end instead."""

BAR_STYLES: dict[str, BarStyle] = {"computed": "kept", "failed": "lost", "reused": "other", "not reached": "other"}


@dataclass(frozen=True)
class Spent:
    """What all stages took together. None: no stage recorded it."""

    seconds: float | None
    seconds_of_this_run: float
    cpu_seconds: float | None
    peak_memory_bytes: int | None
    watt_hours: float | None
    energy_methods: tuple[str, ...]
    energy_estimated: bool


def spent(stages: Sequence[Stage]) -> Spent:
    """Sums over the stages, and the largest peak. Reused stages count: the model would not be there without them."""
    energies = [stage.energy for stage in stages if stage.energy is not None]
    return Spent(
        seconds=_total([stage.seconds for stage in stages]),
        seconds_of_this_run=_total([stage.seconds for stage in stages if stage.status in ("computed", "failed")]) or 0.0,
        cpu_seconds=_total([stage.cpu_seconds for stage in stages]),
        peak_memory_bytes=max((s.peak_memory_bytes for s in stages if s.peak_memory_bytes is not None), default=None),
        watt_hours=_total([energy.watt_hours for energy in energies]),
        energy_methods=tuple(dict.fromkeys(energy.method for energy in energies)),
        energy_estimated=any(energy.estimated for energy in energies),
    )


def section(report: Report) -> Section:
    """Totals, the timeline with every stage's figures, predictions."""
    total = spent(report.stages)
    body = join(
        [
            _totals(total, report.stages) if report.stages else None,
            _stages(report.stages) if report.stages else None,
            _energy_note(total),
            _predictions(report.predictions) if report.predictions else None,
        ]
    )
    fact = duration(total.seconds) if total.seconds is not None else ""
    return Section("cost", "Cost", fact, body or None, "No stage left a record of what it cost.")


def _totals(total: Spent, stages: Sequence[Stage]) -> Markup:
    reused = sum(stage.status == "reused" for stage in stages)
    this_run = f"{duration(total.seconds_of_this_run)}, {count(reused)} of {len(stages)} stages reused" if reused else None
    return facts(
        [
            ("From nothing", duration(total.seconds) if total.seconds is not None else None),
            ("This run", this_run),
            ("Processor time", duration(total.cpu_seconds) if total.cpu_seconds is not None else None),
            ("Peak memory", size(total.peak_memory_bytes) if total.peak_memory_bytes is not None else None),
            ("Energy", energy_text(total)),
        ]
    )


def energy_text(total: Spent) -> str | None:
    """Watt-hours, with the word estimate where it is one."""
    if total.watt_hours is None:
        return None
    return watt_hours(total.watt_hours, estimated=total.energy_estimated) + (
        " (estimate)" if total.energy_estimated else " (measured)"
    )


def _energy_note(total: Spent) -> Markup | None:
    if not total.energy_methods:
        return None
    kind = "an estimate" if total.energy_estimated else "measured"
    return element("p", f"Energy is {kind}: {'; '.join(total.energy_methods)}.", class_="note")


def _stages(stages: Sequence[Stage]) -> Markup:
    starts, by_clock = _starts(stages)
    on = time_axis([start + (stage.seconds or 0.0) for start, stage in zip(starts, stages, strict=True)])
    how = "by the clock" if by_clock else "laid end to end"
    caption = [
        element("span", "Stages", class_="chart-title"),
        " ",
        element("span", f"time {how}; lighter: reused", class_="unit"),
    ]
    columns = [
        Column("Stage"),
        Column("Time", "graphic"),
        Column("Time", "number"),
        Column("Processor", "number"),
        Column("Peak memory", "number"),
        Column("Energy", "number"),
        Column("Rows in", "number"),
        Column("Rows out", "number"),
    ]
    rows = [_stage(stage, start, on) for start, stage in zip(starts, stages, strict=True)]
    return table(caption, columns, rows, axis=tick_labels(on, _clock), class_="chart-table stages")


def _stage(stage: Stage, start: float, on: Axis) -> list[Content | Cell]:
    energy = stage.energy
    drawn = bar(start, stage.seconds, on, style=BAR_STYLES[stage.status]) if stage.seconds is not None else None
    return [
        [stage.name, "" if stage.status == "computed" else element("small", stage.status)],
        drawn,
        _or_dash(None if stage.seconds is None else duration(stage.seconds)),
        _or_dash(None if stage.cpu_seconds is None else duration(stage.cpu_seconds)),
        _or_dash(None if stage.peak_memory_bytes is None else size(stage.peak_memory_bytes)),
        _or_dash(None if energy is None else watt_hours(energy.watt_hours, estimated=energy.estimated)),
        _or_dash(None if stage.rows_in is None else count(stage.rows_in)),
        _or_dash(None if stage.rows_out is None else count(stage.rows_out)),
    ]


def _starts(stages: Sequence[Stage]) -> tuple[list[float], bool]:
    """Where each stage's bar begins, in seconds, and whether that is by the clock."""
    began = [stage.started_at for stage in stages if stage.started_at is not None]
    if began and len(began) == len([s for s in stages if s.seconds is not None]):
        first = min(began)
        starts = [_since(stage.started_at, first) for stage in stages]
        end = max(start + (stage.seconds or 0.0) for start, stage in zip(starts, stages, strict=True))
        if end <= MOST_IDLE * sum(stage.seconds or 0.0 for stage in stages):
            return starts, True
    starts, at = [], 0.0
    for stage in stages:
        starts.append(at)
        at += stage.seconds or 0.0
    return starts, False


def _since(at: datetime | None, first: datetime) -> float:
    return 0.0 if at is None else (at - first).total_seconds()


def _predictions(given: Sequence[Prediction]) -> Markup:
    columns = [
        Column("What"),
        Column("Predicted", "number"),
        Column("Happened", "number"),
        Column("Ratio", "number"),
        Column("Predicted by"),
    ]
    rows: list[list[Content | Cell]] = [
        [
            one.name,
            with_unit(one.predicted, one.unit),
            NOT_RECORDED if one.actual is None else with_unit(one.actual, one.unit),
            NOT_RECORDED if one.actual is None else ratio(one.actual, one.predicted),
            one.method or NOT_RECORDED,
        ]
        for one in given
    ]
    return table("Prediction beside fact", columns, rows)


def _clock(seconds: float) -> str:
    """A tick of the timeline: `0`, `45 s`, `2 min`, `3 h`."""
    if seconds == 0 or seconds < 60:
        return f"{seconds:g}\u00a0s" if seconds else "0"
    return f"{seconds / 60:g}\u00a0min" if seconds < 7200 else f"{seconds / 3600:g}\u00a0h"


def _or_dash(text: str | None) -> str:
    return NOT_RECORDED if text is None else text


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
