"""A confusion matrix as a picture, and the pairs of classes that are confused most.

Few classes: every cell with its count. Many classes: cells alone, each with its count as a tooltip, and the pairs as a table,
because nobody reads 22,500 numbers. A cell's ink is the share of its row, so rare classes are seen beside frequent ones.

Does not know: where the counts come from.
"""

from __future__ import annotations

from typing import NamedTuple

from lmpipe.report.html import Markup, element
from lmpipe.report.numbers import compact, count, share
from lmpipe.report.task_model import Confusion

MOST_WRITTEN = 10
"""Classes up to which a cell is wide enough for its count on a telephone's screen."""
LABEL_SHARE = 30.0
"""Percent of the width for the names of the rows."""
LABEL_LETTERS = 13
ROW_HEIGHT = 28
LEAST_INK = 0.12
"""Opacity of the faintest cell that is not empty."""
WRITTEN_INK = 0.45
"""Opacity of the darkest cell under a number, which stays readable in both themes."""
MOST_PAIRS = 20


class Pair(NamedTuple):
    """One class taken for another."""

    true: str
    predicted: str
    times: int
    of: int
    """Examples of the true class."""


def confused_pairs(given: Confusion) -> list[Pair]:
    """The most frequent confusions, most frequent first."""
    found = [
        Pair(name, given.classes[column], times, sum(row))
        for line, (name, row) in enumerate(zip(given.classes, given.counts, strict=True))
        for column, times in enumerate(row)
        if times and column != line
    ]
    return sorted(found, key=lambda pair: (-pair.times, -pair.times / pair.of, pair.true, pair.predicted))[:MOST_PAIRS]


def picture(given: Confusion) -> Markup:
    """The matrix as SVG: rows are true classes, columns predicted ones."""
    name = f"Confusion matrix of {len(given.classes)} classes; rows are true classes, columns predicted ones"
    return _written(given, name) if len(given.classes) <= MOST_WRITTEN else _dense(given, name)


def _written(given: Confusion, name: str) -> Markup:
    width = (100 - LABEL_SHARE) / len(given.classes)
    shapes = []
    for line, (label, row) in enumerate(zip(given.classes, given.counts, strict=True)):
        top = ROW_HEIGHT * (line + 1)
        head, side = f"{line + 1}", label if len(label) <= LABEL_LETTERS else f"{label[: LABEL_LETTERS - 1]}…"
        at = f"{LABEL_SHARE + width * (line + 0.5):.2f}%"
        shapes.append(element("text", head, x=at, y="18", text_anchor="middle", class_="tick"))
        end = f"{LABEL_SHARE - 2:.2f}%"
        shapes.append(element("text", f"{side} {line + 1}", x=end, y=top + 19, text_anchor="end", class_="marker-label"))
        for column, times in enumerate(row):
            left, middle = LABEL_SHARE + width * column, f"{LABEL_SHARE + width * (column + 0.5):.2f}%"
            x, w = f"{left:.2f}%", f"{width:.2f}%"
            class_ = _class(line == column) if times else "cell empty"
            ink = f"{_ink(times, sum(row), WRITTEN_INK):.2f}" if times else None
            shapes.append(element("rect", x=x, y=top, width=w, height=ROW_HEIGHT, class_=class_, fill_opacity=ink))
            text = compact(times) if times >= 1000 else count(times)
            shapes.append(element("text", text, x=middle, y=top + 19, text_anchor="middle", class_="marker-label"))
    height = ROW_HEIGHT * (len(given.classes) + 1)
    return element("svg", shapes, class_="confusion", width="100%", height=height, role="img", aria_label=name)


def _dense(given: Confusion, name: str) -> Markup:
    size = len(given.classes)
    shapes = [element("rect", x="0", y="0", width=size, height=size, class_="cell empty")]
    for line, row in enumerate(given.counts):
        for column, times in enumerate(row):
            if times:
                said = f"{given.classes[line]} taken for {given.classes[column]}: {count(times)} of {count(sum(row))}"
                said = f"{given.classes[line]} right: {count(times)} of {count(sum(row))}" if line == column else said
                ink = f"{_ink(times, sum(row), 1.0):.2f}"
                told = element("title", said)
                class_ = _class(line == column)
                shapes.append(element("rect", told, x=column, y=line, width=1, height=1, fill_opacity=ink, class_=class_))
    box = f"0 0 {size} {size}"
    return element("svg", shapes, class_="confusion dense", viewBox=box, width="100%", role="img", aria_label=name)


def _class(right: bool) -> str:
    return "cell right" if right else "cell wrong"


def _ink(times: int, of: int, most: float) -> float:
    return LEAST_INK + (most - LEAST_INK) * times / of


def pair_row(pair: Pair) -> list[str]:
    """A row of the table of pairs."""
    return [f"{pair.true} → {pair.predicted}", count(pair.times), share(pair.times, pair.of)]
