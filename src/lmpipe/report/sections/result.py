"""The result: the comparison, what the gate asked, and every metric."""

from __future__ import annotations

from lmpipe.base.measures import Finding, Interval, Metric, Requirement
from lmpipe.report.axes import Axis, axis
from lmpipe.report.charts import Dot, dot_and_whisker, plain_ticks
from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.model import Comparison, Contender, Report
from lmpipe.report.numbers import NOT_RECORDED, bounds, change, count, exact, measured, plural, unit_name, with_unit
from lmpipe.report.parts import VERDICT_TONES, Section, bound_text, find, named, readable, sign
from lmpipe.report.tables import Cell, Column, table

BETTER = {"lower": "lower", "higher": "higher", "none": NOT_RECORDED}


def section(report: Report) -> Section:
    """Comparison, gate and metrics, each if there."""
    body = join(
        [
            comparison(report.comparison, goal_value(report)) if report.comparison else None,
            gate(report) if report.verdict else None,
            metrics(report.metrics) if report.metrics else None,
        ]
    )
    model = next((one for one in report.comparison.contenders if one.role == "model"), None) if report.comparison else None
    fact = plural(len(report.metrics), "metric") if report.metrics else ""
    if model and report.comparison:
        fact = with_unit(model.value, report.comparison.unit, model.interval)
    return Section("result", "Result", fact, body or None, "Nothing was evaluated in this run.")


def goal_value(report: Report) -> float | None:
    """The goal on the comparison's axis, if the goal is about what is compared."""
    if report.goal is None or report.comparison is None or report.goal.subject != report.comparison.subject:
        return None
    return report.goal.at_most if report.goal.at_most is not None else report.goal.at_least


def comparison(given: Comparison, goal: float | None) -> Markup:
    """The model and its baselines on one axis."""
    ends = [end for one in given.contenders for end in _ends(one)]
    on = axis([*ends, *([] if goal is None else [goal])], ticks=6)
    notes = [f"{given.better} is better"]
    level = next((one.interval.level for one in given.contenders if one.interval), None)
    notes += [] if level is None else [f"whisker: {level:.0%} interval"]
    notes += [] if goal is None else [f"dashed line: the goal, {exact(goal)}"]
    caption = [element("span", given.title, class_="chart-title"), " ", element("span", ", ".join(notes), class_="unit")]
    columns = [Column("On the same text"), Column(unit_name(given.unit), "graphic"), Column("Value", "number")]
    rows = [_contender(one, given, on, goal) for one in given.contenders]
    methods = dict.fromkeys(one.interval.method for one in given.contenders if one.interval)
    note = element("p", f"Intervals by {'; '.join(methods)}.", class_="note") if methods else None
    return join([table(caption, columns, rows, axis=plain_ticks(on), class_="chart-table comparison"), note])


def _contender(one: Contender, given: Comparison, on: Axis, goal: float | None) -> list[Content | Cell]:
    low, high = (one.interval.low, one.interval.high) if one.interval else (None, None)
    dot = Dot(one.value, low, high, one.role)
    label = [element("span", one.label, class_="readable"), element("small", one.note) if one.note else None]
    value = [
        element("b", measured(one.value, given.unit, one.interval)),
        " ",
        element("small", bounds(one.interval, given.unit) or "no interval"),
        _against(one, given),
    ]
    return [label, dot_and_whisker(dot, on, threshold=goal), value]


def _against(one: Contender, given: Comparison) -> Markup | None:
    """How far the model lies from this baseline."""
    model = next((c for c in given.contenders if c.role == "model"), None)
    if one.role == "model" or model is None:
        return None
    return element("small", f"model {change(model.value, one.value)}", class_="against")


def _ends(one: Contender) -> list[float]:
    return [one.value, *([one.interval.low, one.interval.high] if one.interval else [])]


def gate(report: Report) -> Markup:
    """What the gate asked, and how each requirement came out."""
    requirements = report.verdict.requirements if report.verdict else []
    columns = [
        Column("Requirement"),
        Column("Asked", "number"),
        Column("Measured", "number"),
        Column("Answer", "short"),
        Column("Why"),
    ]
    return table("What the gate asked", columns, [_requirement(one, unit_of(one, report)) for one in requirements])


def unit_of(one: Requirement, report: Report) -> str:
    """The unit of what a requirement is about; empty where no such number is on the page."""
    known: list[Metric | Finding] = [*report.metrics, *report.findings]
    subject = find(one.subject, known)
    return subject.unit if subject else ""


def _requirement(one: Requirement, unit: str) -> list[Content | Cell]:
    asked = bound_text(one.at_most, one.at_least, unit) or NOT_RECORDED
    answer = [sign(VERDICT_TONES[one.verdict]), " ", one.verdict]
    return [named(one.subject), asked, required_value(one, unit) or NOT_RECORDED, answer, one.reason]


def required_value(one: Requirement, unit: str) -> str:
    """The number that a requirement is about, with the ends of its interval: `1.651 [1.602, 1.703]`."""
    if one.value is None:
        return ""
    if one.low is None or one.high is None:
        return measured(one.value, unit)
    interval = Interval(low=one.low, high=one.high, method="")
    return f"{measured(one.value, unit, interval)} {bounds(interval, unit)}"


def metrics(given: list[Metric]) -> Markup:
    """Every metric with its interval, and what both were taken over."""
    columns = [
        Column("Metric"),
        Column("Value", "number"),
        Column("Interval", "number"),
        Column("Better", "short"),
        Column("Taken over", "number"),
        Column("Interval by"),
    ]
    return table("All metrics", columns, [_metric(one) for one in given], sortable=True)


def _metric(one: Metric) -> list[Content | Cell]:
    level = f"{one.interval.level:.0%} " if one.interval else ""
    over = f"{count(one.count)} {one.count_unit}"
    named_by_unit = unit_name(one.unit) == readable(one.name)
    shown = measured(one.value, one.unit, one.interval) if named_by_unit else with_unit(one.value, one.unit, one.interval)
    return [
        Cell(named(one.name), one.name),
        Cell(shown, one.value),
        level + bounds(one.interval, one.unit) or NOT_RECORDED,
        BETTER[one.direction],
        Cell(over, float(one.count)),
        element("small", one.interval.method) if one.interval else NOT_RECORDED,
    ]
