"""Tasks: each evaluation of answers with its numbers beside baselines, classes, slices, calibration and errors."""

from __future__ import annotations

from lmpipe.base.measures import Interval
from lmpipe.report.axes import Axis
from lmpipe.report.charts import Dot, dot_and_whisker, plain_ticks
from lmpipe.report.confusion import MOST_WRITTEN, confused_pairs, pair_row, picture
from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.model import Report
from lmpipe.report.numbers import NOT_RECORDED, bounds, count, fixed, measured, plural, share
from lmpipe.report.parts import Section, at_joints, cut, setting
from lmpipe.report.tables import Cell, Column, table
from lmpipe.report.task_model import AnsweredExample, Part, ReliabilityBar, Score, Task

SHARES = Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))
MOST_SHOWN = 3
"""Numbers of one slice or class; all of them are in the stage's slices.json."""
MOST_EXAMPLES = 400
MOST_LETTERS = 800


def section(report: Report) -> Section:
    """Every task in order."""
    body = join(_task(one, number) for number, one in enumerate(report.tasks, 1))
    fact = plural(len(report.tasks), "task") if report.tasks else ""
    return Section("tasks", "Tasks", fact, body or None, "No task with right answers was evaluated in this run.")


def _task(given: Task, number: int) -> Markup:
    about = f"{given.kind}, {plural(given.count, 'example')}"
    wrong = "" if given.wrong is None else f", {count(given.wrong)} answered wrongly ({share(given.wrong, given.count)})"
    return join(
        [
            element("h3", element("code", at_joints(given.subject)), id=f"task-{number}"),
            element("p", about, wrong, class_="note"),
            _numbers(given),
            _confusion(given),
            _classes(given),
            _slices(given),
            _reliability(given.reliability),
            _choices(given),
            _examples(given, number),
        ]
    )


def _numbers(given: Task) -> Markup | None:
    if not given.scores:
        return None
    columns = [Column("Metric"), Column("This model", "number"), *(Column(one.name, "number") for one in given.baselines)]
    beside = [{score.statistic: score for score in one.scores} for one in given.baselines]
    rows = [
        [score.statistic.replace("_", " "), _value(score), *(_value(found.get(score.statistic)) for found in beside)]
        for score in given.scores
    ]
    title = "Beside simple models, on the same examples" if given.baselines else "All examples"
    return table(title, columns, rows)


def _value(score: Score | None) -> Content:
    if score is None:
        return NOT_RECORDED
    if score.low is None or score.high is None:
        return element("b", measured(score.value, score.unit))
    interval = Interval(low=score.low, high=score.high, method="")
    number = element("b", measured(score.value, score.unit, interval))
    return [number, " ", element("small", bounds(interval, score.unit))]


def _confusion(given: Task) -> Markup | None:
    matrix = given.confusion
    if matrix is None:
        return None
    dense = len(matrix.classes) > MOST_WRITTEN
    order = "in the order of their names below" if dense else "numbered as the rows are"
    caption = [
        element("span", "What was taken for what", class_="chart-title"),
        " ",
        element("span", f"rows: true classes, columns: predicted ones, {order}; ink: share of the row", class_="unit"),
    ]
    drawn = element("figure", element("figcaption", caption), picture(matrix), class_="chart")
    names = join(f"{n} {name}{'' if n == len(matrix.classes) else ', '}" for n, name in enumerate(matrix.classes, 1))
    legend = element("details", element("summary", "Names of the rows and columns"), element("p", names)) if dense else None
    pairs = confused_pairs(matrix)
    columns = [Column("True → predicted"), Column("Times", "number"), Column("Of the true class", "number")]
    listed = table("The most confused pairs", columns, [pair_row(pair) for pair in pairs]) if pairs else None
    return join([drawn, legend, listed])


def _classes(given: Task) -> Markup | None:
    """Worst first, by the last of their numbers, which is F1."""
    ordered = sorted(given.classes, key=lambda one: one.scores[-1].value if one.scores else 0.0)
    kind = given.classes[0].by if ordered else ""
    return _parts(f"Each {kind}, the hardest first", ordered, kind.capitalize()) if ordered else None


def _slices(given: Task) -> Markup | None:
    tables = []
    for by in dict.fromkeys(one.by for one in given.slices):
        own = [one for one in given.slices if one.by == by]
        tables.append(_parts(f"By {by.replace('_', ' ')}", own, by.replace("_", " ").capitalize()))
    return join(tables) if tables else None


def _parts(caption: str, parts: list[Part], title: str) -> Markup:
    names = list(dict.fromkeys(score.statistic for one in parts for score in one.scores))[:MOST_SHOWN]
    columns = [Column(title), Column("Examples", "number"), *(Column(name.replace("_", " "), "number") for name in names)]
    rows: list[list[Content | Cell]] = []
    for one in parts:
        found = {score.statistic: score for score in one.scores}
        value = one.value or "(empty)"
        few = element("small", " few examples") if one.small else None
        cells = [Cell(_value(found.get(name)), found[name].value if name in found else -1.0) for name in names]
        rows.append([Cell([value, few], value), Cell(count(one.count), float(one.count)), *cells])
    return table(caption, columns, rows, sortable=True)


def _reliability(bars: list[ReliabilityBar]) -> Markup | None:
    """One row for each stretch of confidence: how many of its answers are right, beside how sure the model was."""
    if not bars:
        return None
    note = "dot: share of right answers with its interval, dashed line: mean confidence; where they meet, it is calibrated"
    caption = [element("span", "Calibration", class_="chart-title"), " ", element("span", note, class_="unit")]
    columns = [
        Column("Confidence"),
        Column("Right answers", "graphic"),
        Column("Right", "number"),
        Column("Sure of", "number"),
        Column("Answers", "number"),
    ]
    rows: list[list[Content | Cell]] = [
        [
            f"{100 * bar.low:.1f}% to {100 * bar.high:.1f}%",
            dot_and_whisker(Dot(bar.accuracy, bar.accuracy_low, bar.accuracy_high), SHARES, threshold=bar.confidence),
            [f"{bar.accuracy:.1%} ", element("small", f"[{bar.accuracy_low:.0%}, {bar.accuracy_high:.0%}]")],
            f"{bar.confidence:.1%}",
            count(bar.count),
        ]
        for bar in bars
    ]
    return table(caption, columns, rows, axis=plain_ticks(SHARES, percent=True), class_="chart-table")


def _choices(given: Task) -> Markup | None:
    if not given.choices:
        return None
    columns = [Column("Chosen on validation examples"), Column("Value", "number"), Column("What it does")]
    return table("Temperature and thresholds", columns, [[one.name, fixed(one.value), one.effect] for one in given.choices])


def _examples(given: Task, number: int) -> Markup | None:
    """The error browser: a list, which the page's script lets one filter by group."""
    shown = given.examples[:MOST_EXAMPLES]
    if not shown:
        return None
    title = f"task-{number}-examples"
    heading = element("h3", given.examples_title or "Examples", id=title)
    items = element("ol", [_example(one) for one in shown], class_="errors", aria_labelledby=title)
    return element("div", heading, items, class_="error-browser", data_browser=True)


def _example(one: AnsweredExample) -> Markup:
    scores = ", ".join(f"{name.replace('_', ' ')} {setting(round(value, 4))}" for name, value in one.scores.items())
    text = element("pre", cut(one.text, MOST_LETTERS)) if one.text else None
    pairs = [("Expected", one.expected), ("Answer", one.answer)]
    lines = element(
        "dl", [element("div", element("dt", term), element("dd", cut(value, MOST_LETTERS))) for term, value in pairs]
    )
    foot = element("small", element("code", one.id), " ", scores)
    return element("li", text, lines, foot, data_group=one.group or None)
