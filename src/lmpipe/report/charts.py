"""Charts as inline SVG that fit any width without shrinking their text.

The trick: positions along the width are percentages, so that no viewBox scales letters and dots; only the lines themselves
live in a nested viewBox that is stretched, with strokes that are not. Colours and fonts come from the page's style sheet by
class, so a chart follows light, dark and print. A line chart carries a name, a sentence that says what it shows, and its
numbers as a table; bar charts are tables (`tables.py`) whose graphic column is drawn here.

Does not know: what the quantities mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lmpipe.report.axes import Axis, axis, decimate, tick_decimals, tight_axis
from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.numbers import compact, fixed
from lmpipe.report.tables import Column, table

BarStyle: TypeAlias = Literal["kept", "lost", "other"]

SPAN = 1000
"""Units of the stretched viewBox in both directions: a tenth of one is finer than a pixel."""

MAX_DOTS = 40
"""A line with at most so many points shows each as a dot: they were measured, the line between them was not."""

LEAST_BAR = 0.006
"""Share of the axis that the shortest bar takes, so that a stage of a tenth of a second is still seen."""

TABLE_ROWS = 25
"""Rows of the numbers under a line chart."""


@dataclass(frozen=True)
class Series:
    """One line. `values` may hold None where there is nothing to draw."""

    label: str
    positions: Sequence[float]
    values: Sequence[float | None]
    style: Literal["first", "second"] = "first"

    def known(self) -> list[tuple[float, float]]:
        """The points that have a value."""
        return [(x, y) for x, y in zip(self.positions, self.values, strict=True) if y is not None]


@dataclass(frozen=True)
class Marker:
    """A vertical line at a position, with a few words."""

    position: float
    label: str


@dataclass(frozen=True)
class LineChart:
    """What a line chart shows. `name` is unique on the page: ids are made from it."""

    name: str
    title: str
    unit: str
    position_unit: str
    series: Sequence[Series]
    scale: Literal["linear", "log"] = "linear"
    from_zero: bool = False
    markers: Sequence[Marker] = ()
    tall: bool = False


def line_chart(chart: LineChart) -> Markup:
    """A figure: title with unit, legend, plot, and the numbers as a table that opens on demand."""
    known = [point for series in chart.series for point in series.known()]
    across = tight_axis([x for x, _ in known], ticks=5 if chart.tall else 3)
    up = axis([y for _, y in known], scale=chart.scale, from_zero=chart.from_zero, ticks=4)
    suffix = ", log scale" if up.scale == "log" else ""
    caption = element(
        "figcaption",
        element("span", chart.title, class_="chart-title"),
        " ",
        element("span", (chart.unit or "no unit") + suffix, class_="unit"),
    )
    legend = element("ul", [_legend_entry(series, alone=len(chart.series) == 1) for series in chart.series], class_="legend")
    plot = element("div", _plot(chart, across, up), class_="plot-frame")
    return element(
        "figure", caption, legend, plot, _numbers(chart), class_="chart tall" if chart.tall else "chart", id=chart.name
    )


def _plot(chart: LineChart, across: Axis, up: Axis) -> Markup:
    height = 300 if chart.tall else 180
    grid = [_horizontal_tick(tick, up, height) for tick in up.ticks]
    grid += [_vertical_tick(tick, across, height, last=tick == across.ticks[-1]) for tick in across.ticks]
    grid.append(_text(100, height + 38, chart.position_unit, "axis-title", "end"))
    lines = [_line(series, across, up) for series in chart.series]
    stretched = element(
        "svg",
        lines,
        viewBox=f"0 0 {SPAN} {SPAN}",
        preserveAspectRatio="none",
        width="100%",
        height="100%",
        overflow="visible",
    )
    dots = [_dots(series, across, up, height) for series in chart.series]
    markers = [_marker(marker, across, height, row) for row, marker in enumerate(chart.markers)]
    return element(
        "svg",
        grid,
        markers,
        stretched,
        dots,
        class_="plot",
        width="100%",
        height=height,
        role="img",
        aria_label=f"{chart.title}, line chart. {_description(chart)}",
        data_chart=_payload(chart, across, up),
    )


def _line(series: Series, across: Axis, up: Axis) -> Markup:
    pieces, pen_down = [], False
    for i in decimate(series.values):
        value = series.values[i]
        if value is None:
            pen_down = False
            continue
        x, y = SPAN * across.position(series.positions[i]), SPAN * (1 - up.position(value))
        pieces.append(f"{'L' if pen_down else 'M'}{_short(x)},{_short(y)}")
        pen_down = True
    return element("path", d="".join(pieces), class_=f"line {series.style}", vector_effect="non-scaling-stroke")


def _dots(series: Series, across: Axis, up: Axis, height: int) -> list[Markup]:
    known = series.known()
    if len(known) > MAX_DOTS:
        return []
    return [
        element(
            "circle",
            cx=_percent(across.position(x)),
            cy=_short(height * (1 - up.position(y))),
            r="3",
            class_=f"point {series.style}",
        )
        for x, y in known
    ]


def _horizontal_tick(tick: float, up: Axis, height: int) -> Markup:
    y = _short(height * (1 - up.position(tick)))
    line = element("line", x1="0", x2="100%", y1=y, y2=y, class_="grid")
    return join([line, element("text", compact(tick), x="-8", y=y, dy="0.32em", class_="tick", text_anchor="end")])


def _vertical_tick(tick: float, across: Axis, height: int, *, last: bool) -> Markup:
    x = across.position(tick)
    line = element("line", x1=_percent(x), x2=_percent(x), y1=height, y2=height + 5, class_="grid")
    anchor = "end" if last and x > 0.97 else "middle"
    return join([line, _text(100 * x, height + 20, compact(tick), "tick", anchor)])


def _marker(marker: Marker, across: Axis, height: int, row: int) -> Markup:
    x = across.position(marker.position)
    line = element("line", x1=_percent(x), x2=_percent(x), y1="0", y2=height, class_="marker")
    anchor, shift = ("end", "-6") if x > 0.5 else ("start", "6")
    label = element("text", marker.label, x=_percent(x), y=14 + 18 * row, dx=shift, class_="marker-label", text_anchor=anchor)
    return join([line, label])


def _legend_entry(series: Series, *, alone: bool) -> Markup:
    swatch = element(
        "svg",
        element("line", x1="1", x2="23", y1="6", y2="6", class_=f"line {series.style}"),
        element("circle", cx="12", cy="6", r="3", class_=f"point {series.style}") if len(series.known()) <= MAX_DOTS else None,
        width="24",
        height="12",
        aria_hidden="true",
        class_="swatch",
    )
    known = series.known()
    last = f"ends at {fixed(known[-1][1])}" if known else "has no value"
    gaps = len(series.values) - len(known)
    note = f", {gaps} not finite" if gaps else ""
    return element("li", None if alone else [swatch, " ", element("b", series.label), " "], last, note)


def _description(chart: LineChart) -> str:
    sentences = []
    for series in chart.series:
        known = series.known()
        if not known:
            sentences.append(f"{series.label}: no value.")
            continue
        (x0, y0), (x1, y1) = known[0], known[-1]
        x_low, y_low = min(known, key=lambda p: (p[1], p[0]))
        sentences.append(
            f"{series.label}: {fixed(y0)} at {compact(x0)}, {fixed(y1)} at {compact(x1)} {chart.position_unit}, "
            f"lowest {fixed(y_low)} at {compact(x_low)}."
        )
    sentences += [f"{marker.label} at {compact(marker.position)}." for marker in chart.markers]
    return f"Unit: {chart.unit}. " + " ".join(sentences)


def _payload(chart: LineChart, across: Axis, up: Axis) -> str:
    """What the page's script needs to say the values under the pointer."""
    series = []
    for one in chart.series:
        kept = [i for i in decimate(one.values) if one.values[i] is not None]
        values = [float(f"{one.values[i]:.5g}") for i in kept]
        series.append({"label": one.label, "x": [one.positions[i] for i in kept], "y": values})
    ends = {"x": [across.low, across.high], "y": [up.low, up.high], "log": up.scale == "log"}
    return json.dumps({"unit": chart.unit, "of": chart.position_unit, "axes": ends, "series": series}, separators=(",", ":"))


def _numbers(chart: LineChart) -> Markup:
    """Evenly spaced rows of every series, each series with its own positions where they differ."""
    tables = []
    for series in chart.series:
        known = series.known()
        step = max(1, -(-len(known) // TABLE_ROWS))
        picked = sorted({*range(0, len(known), step), *([len(known) - 1] if known else [])})
        columns = [Column(chart.position_unit, "number"), Column(f"{series.label}, {chart.unit}", "number")]
        rows: list[list[Content]] = [[f"{known[i][0]:,.0f}", fixed(known[i][1])] for i in picked]
        which = "every point" if step == 1 else f"{len(rows)} of {len(known):,} points"
        tables.append(table(f"{series.label}: {which}", columns, rows, class_="plain"))
    summary = element("summary", f"{chart.title} as numbers")
    return element("details", summary, element("div", tables, class_="side-by-side"), class_="numbers")


@dataclass(frozen=True)
class Dot:
    """A value with its interval on a shared axis."""

    value: float
    low: float | None = None
    high: float | None = None
    style: Literal["model", "baseline"] = "model"


def dot_and_whisker(dot: Dot, on: Axis, *, threshold: float | None = None) -> Markup:
    """The graphic of one row: gridlines, the threshold, the interval as a line, the value as a dot."""
    shapes: list[Content] = []
    if dot.low is not None and dot.high is not None:
        low, high = _percent(on.position(dot.low)), _percent(on.position(dot.high))
        shapes.append(element("line", x1=low, x2=high, y1="50%", y2="50%", class_=f"whisker {dot.style}"))
    shapes.append(element("circle", cx=_percent(on.position(dot.value)), cy="50%", r="5.5", class_=f"dot {dot.style}"))
    return _graphic(on, shapes, threshold=threshold)


def waterfall_bar(kept: float, lost: float, added: float, on: Axis) -> Markup:
    """The graphic of one row of a waterfall: what stays from zero on, then what this step took away, then what it made."""
    middle, end = on.position(kept), on.position(kept + lost)
    shapes = [_bar(0, middle, "bar kept")]
    if lost:
        shapes.append(_bar(middle, end, "bar lost"))
    if added:
        shapes.append(_bar(end, on.position(kept + lost + added), "bar other"))
    return _graphic(on, shapes)


def bar(start: float, length: float, on: Axis, *, style: BarStyle = "kept") -> Markup:
    """The graphic of one row: a bar from `start` of the given length; never thinner than can be seen."""
    return _graphic(on, [_bar(on.position(start), on.position(start + length), f"bar {style}")])


def plain_ticks(on: Axis, *, percent: bool = False) -> Markup:
    """Tick labels that all have the same decimals: `1.6 ... 2.0`; fractions as percent where asked."""
    factor = 100 if percent else 1
    decimals = max(0, tick_decimals(on) - (2 if percent else 0))
    return tick_labels(on, lambda tick: f"{factor * tick:.{decimals}f}{'%' if percent else ''}")


def tick_labels(on: Axis, label: Callable[[float], str] = compact) -> Markup:
    """The row of tick labels under a column of graphics."""
    marks: list[Content] = []
    for i, tick in enumerate(on.ticks):
        x = on.position(tick)
        anchor = "start" if x < 0.02 else "end" if x > 0.98 else "middle"
        optional = "tick" if i % 2 == 0 else "tick optional"
        marks.append(_text(100 * x, 14, label(tick), optional, anchor))
    return element("svg", marks, class_="ticks", width="100%", height="20", aria_hidden="true")


def _graphic(on: Axis, shapes: Content, *, threshold: float | None = None) -> Markup:
    grid = [
        element("line", x1=_percent(p), x2=_percent(p), y1="0", y2="100%", class_="grid") for p in map(on.position, on.ticks)
    ]
    if threshold is not None:
        at = _percent(on.position(threshold))
        grid.append(element("line", x1=at, x2=at, y1="0", y2="100%", class_="threshold"))
    return element("svg", grid, shapes, class_="cell-graphic", width="100%", height="100%", aria_hidden="true")


def _bar(start: float, end: float, class_: str) -> Markup:
    width = max(end - start, LEAST_BAR)
    return element("rect", x=_percent(min(start, 1 - LEAST_BAR)), y="50%", width=_percent(width), height="10", class_=class_)


def _text(percent: float, y: int, text: str, class_: str, anchor: str) -> Markup:
    return element("text", text, x=f"{percent:.2f}%", y=y, class_=class_, text_anchor=anchor)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}%"


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
