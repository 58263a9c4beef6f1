"""Histograms of scores before and after a selection: bars of what stayed, and on top of them what went.

Drawn like the other charts (`charts.py`): positions along the width are percentages, colours come from the style sheet by
class, a name says what is seen, and the numbers stand in a table that unfolds. Does not know: what a score means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from lmpipe.report.html import Content, Markup, element
from lmpipe.report.model import Histogram
from lmpipe.report.numbers import compact, count
from lmpipe.report.parts import capital, qualifier, readable
from lmpipe.report.tables import Cell, Column, table

HEIGHT = 120
GAP = 0.12
"""Share of a bin's width that stays empty between bars."""
LEAST_PIXELS = 1.5
"""A bin with one document among thousands is still seen."""


def histogram(given: Histogram) -> Markup:
    """A figure: title, plot with the bounds as dashed lines, numbers on demand."""
    title = element("span", capital(readable(given.score)), class_="chart-title")
    kept, all_ = sum(given.after), sum(given.before)
    filter_ = f"{qualifier(given.score)}: " if "." in given.score else ""  # two filters may have scores of one name
    scale = ", log scale" * (given.scale == "log")
    unit = element("span", f"{filter_}{count(kept)} kept, {count(all_ - kept)} dropped{scale}", class_="unit")
    plot = element("div", _plot(given), class_="plot-frame histogram")
    return element("figure", element("figcaption", title, " ", unit), plot, _numbers(given), class_="chart")


def _plot(given: Histogram) -> Markup:
    most = max([*given.before, 1])
    bins = len(given.before)
    shapes: list[Content] = []
    for number, (before, after) in enumerate(zip(given.before, given.after, strict=True)):
        left, width = 100 * (number + GAP / 2) / bins, 100 * (1 - GAP) / bins
        shapes += _bar(left, width, 0, after, most, "column kept")
        shapes += _bar(left, width, after, before, most, "column lost")
    base = element("line", x1="0", x2="100%", y1=HEIGHT, y2=HEIGHT, class_="grid")
    return element(
        "svg",
        element("line", x1="0", x2="100%", y1="0", y2="0", class_="grid"),
        base,
        element("text", count(most), x="-8", y="0", dy="0.32em", class_="tick", text_anchor="end"),
        element("text", "0", x="-8", y=HEIGHT, dy="0.32em", class_="tick", text_anchor="end"),
        shapes,
        [_bound(bound, given) for bound in given.bounds],
        element("text", compact(given.edges[0]), x="0", y=HEIGHT + 18, class_="tick", text_anchor="start"),
        element("text", compact(given.edges[-1]), x="100%", y=HEIGHT + 18, class_="tick", text_anchor="end"),
        class_="plot",
        width="100%",
        height=HEIGHT,
        role="img",
        aria_label=_description(given),
    )


def _bar(left: float, width: float, below: int, up_to: int, most: int, class_: str) -> list[Markup]:
    """What lies from `below` to `up_to` documents in one bin. Heights are square roots, so that few are seen beside many."""
    if up_to == below:
        return []
    bottom, top = (HEIGHT * math.sqrt(documents / most) for documents in (below, up_to))
    height = max(top - bottom, LEAST_PIXELS)
    y = max(HEIGHT - bottom - height, 0)
    return [element("rect", x=f"{left:.2f}%", width=f"{width:.2f}%", y=f"{y:.1f}", height=f"{height:.1f}", class_=class_)]


def _bound(bound: float, given: Histogram) -> Markup:
    at = f"{100 * _position(bound, given.edges):.2f}%"
    return element("line", x1=at, x2=at, y1="0", y2=HEIGHT, class_="threshold")


def _position(value: float, edges: Sequence[float]) -> float:
    """Where a value lies along the bins, which may grow in width."""
    for number, (low, high) in enumerate(pairwise(edges)):
        if value < high:
            return (number + max(0.0, (value - low) / (high - low))) / (len(edges) - 1)
    return 1.0


def _description(given: Histogram) -> str:
    fullest = max(range(len(given.before)), key=given.before.__getitem__)
    low, high = compact(given.edges[fullest]), compact(given.edges[fullest + 1])
    bounds = f" Bounds at {', '.join(map(compact, given.bounds))}." if given.bounds else ""
    return (
        f"{capital(readable(given.score))}, histogram from {compact(given.edges[0])} to {compact(given.edges[-1])}: "
        f"{count(sum(given.before))} documents before the selection, {count(sum(given.after))} after it; "
        f"most lie from {low} to {high}.{bounds}"
    )


def _numbers(given: Histogram) -> Markup:
    columns = [Column("From"), Column("To", "number"), Column("Before", "number"), Column("After", "number")]
    ends = list(pairwise(given.edges))
    rows: list[list[Content | Cell]] = [
        [compact(low), compact(high), count(before), count(after)]
        for (low, high), before, after in zip(ends, given.before, given.after, strict=True)
        if before
    ]
    summary = element("summary", f"{capital(readable(given.score))} as numbers")
    return element("details", summary, table("", columns, rows, class_="plain"), class_="numbers")
