"""Repeats: what other seeds, other divisions, less data or changed text do to the numbers."""

from __future__ import annotations

from lmpipe.base.measures import Interval
from lmpipe.report.charts import LineChart, Series, line_chart
from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.model import Report
from lmpipe.report.numbers import NOT_RECORDED, bounds, measured, plural
from lmpipe.report.parts import Section, at_joints
from lmpipe.report.repeat_model import Number, RepeatChart, Repeats
from lmpipe.report.tables import Column, table


def section(report: Report) -> Section:
    """Every repeated evaluation in order."""
    body = join(_repeats(one, number) for number, one in enumerate(report.repeats, 1))
    fact = plural(len(report.repeats), "repeated evaluation") if report.repeats else ""
    missing = (
        "Nothing was trained or evaluated again: `seeds`, `cross_validation`, `learning_curve` and `robustness` ask for it."
    )
    return Section("repeats", "Robust validation", fact, body or None, missing)


def _repeats(given: Repeats, number: int) -> Markup:
    columns = [Column(""), *(Column(name, "number") for name in given.columns)]
    rows: list[list[Content]] = [[row.name, *(_number(one) for one in row.numbers)] for row in given.rows]
    heading = element("h3", given.title, ": ", element("code", at_joints(given.subject)), id=f"repeat-{number}")
    note = element("p", given.note, class_="note")
    return join([heading, note, _chart(given.chart, number), table(given.title, columns, rows)])


def _number(given: Number | None) -> Content:
    if given is None:
        return NOT_RECORDED
    if given.low is None or given.high is None:
        return measured(given.value, given.unit)
    interval = Interval(low=given.low, high=given.high, method="")
    number = element("b", measured(given.value, given.unit, interval))
    return [number, " ", element("small", bounds(interval, given.unit))]


def _chart(given: RepeatChart | None, number: int) -> Markup | None:
    if given is None:
        return None
    lines = [Series("measured", given.positions, given.measured)]
    lines += [Series("fitted", given.positions, given.fitted, "second")] if given.fitted else []
    chart = LineChart(f"repeat-chart-{number}", given.title, given.unit, given.position_unit, lines)
    return line_chart(chart)
