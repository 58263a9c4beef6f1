"""Tables that stay tables: a header for every row and column, a caption, and on a narrow screen one block per row.

A narrow screen turns rows into blocks by CSS, which takes a table's meaning from assistive technology unless the roles are
spelled out; so they are. A graphic column holds a bar or a dot whose numbers stand beside it as text, hence it is hidden from
screen readers.

Does not know: what a report is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.numbers import count

MAX_ROWS = 200
"""Rows shown before a table says how many more there are: a page must open at once, whatever the run."""


@dataclass(frozen=True)
class Column:
    """One column: its title, and what stands in it."""

    title: str
    kind: Literal["text", "short", "number", "graphic"] = "text"
    """`short` text stays on one line."""


@dataclass(frozen=True)
class Cell:
    """A cell whose sorting value differs from what it shows."""

    content: Content
    sort: float | str


def table(
    caption: Content,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Content | Cell]],
    *,
    sortable: bool = False,
    axis: Markup | None = None,
    class_: str = "",
) -> Markup:
    """A table whose first column names its rows.

    `axis` is the content of the graphic column's last, unlabelled row: tick labels for the graphics above it.
    """
    shown = rows[:MAX_ROWS]
    head = element("tr", [_heading(column) for column in columns], role="row")
    body = [
        element("tr", [_cell(c, v, i) for i, (c, v) in enumerate(zip(columns, row, strict=True))], role="row") for row in shown
    ]
    parts: list[Content] = [
        element("caption", caption) if caption else None,
        element("thead", head, role="rowgroup"),
        element("tbody", body, role="rowgroup"),
    ]
    if axis is not None:
        cells = [element("td", axis if c.kind == "graphic" else None, class_=c.kind) for c in columns]
        parts.append(element("tfoot", element("tr", cells, class_="axis"), aria_hidden="true"))
    result = element("table", parts, role="table", class_=class_ or None, data_sortable=sortable)
    if len(rows) > len(shown):
        more = f"{count(len(rows) - len(shown))} more rows are not shown; the stage's own files hold all {count(len(rows))}."
        return join([result, element("p", more, class_="note")])
    return result


def _heading(column: Column) -> Markup:
    return element("th", column.title, scope="col", role="columnheader", class_=column.kind)


def _cell(column: Column, value: Content | Cell, position: int) -> Markup:
    sort = value.sort if isinstance(value, Cell) else None
    content = value.content if isinstance(value, Cell) else value
    if position == 0:
        return element("th", content, scope="row", role="rowheader", class_=column.kind, data_sort=_sort_key(sort))
    if column.kind == "graphic":
        return element("td", content, role="cell", class_="graphic", aria_hidden="true")
    label = column.title if content not in ("", None) else None
    return element("td", content, role="cell", class_=column.kind, data_label=label, data_sort=_sort_key(sort))


def _sort_key(sort: float | str | None) -> str | None:
    return None if sort is None else repr(sort) if isinstance(sort, float) else str(sort)
