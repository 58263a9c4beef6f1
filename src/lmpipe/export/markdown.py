"""Words, numbers and tables for cards: Markdown that reads well as plain text, front matter that all YAML readers agree on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """A Markdown table with padded cells; columns in `right` are set flush right.

    >>> print(table(["Step", "Kept"], [["exact", "12"]], right=[1]))
    | Step  | Kept |
    |-------|-----:|
    | exact |   12 |
    """
    cells = [[_cell(value) for value in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]
    rule = "|".join("-" * (width + 1) + (":" if i in right else "-") for i, width in enumerate(widths))
    lines = [_row(row, widths, right) for row in cells]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _row(cells: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> str:
    padded = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
    return f"| {' | '.join(padded)} |"


def _cell(value: str) -> str:
    return " ".join(value.replace("|", "\\|").split())


def quantity(value: float) -> str:
    """A count as a person says it.

    >>> quantity(950), quantity(12_345), quantity(20_000_000)
    ('950', '12,345', '20.0 million')
    """
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if abs(value) >= size:
            return f"{value / size:.1f} {word}"
    return f"{value:,.0f}"


def share(part: float, whole: float) -> str:
    """A part as a percentage of a whole; a dash where there is no whole.

    >>> share(1, 8), share(0, 0)
    ('12.5%', '-')
    """
    return f"{part / whole:.1%}" if whole else "-"


def number(value: float) -> str:
    """A measured value with four significant digits.

    >>> number(2.123456), number(0.0), number(1234.5)
    ('2.123', '0', '1,234')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def front_matter(values: Mapping[str, Any]) -> str:
    """A YAML block between `---` lines. Strings are quoted as JSON, so that `no` stays Norwegian in YAML 1.1 too."""
    return "\n".join(["---", *_yaml(values, ""), "---", ""])


def _yaml(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _entry(f"{indent}{key}:", item, indent + "  ")
    else:
        for item in value:
            lines = list(_yaml(item, indent + "  ")) if isinstance(item, Mapping) else [f"{indent}  {json.dumps(item)}"]
            yield f"{indent}- {lines[0].strip()}"
            yield from lines[1:]


def _entry(key: str, item: Any, indent: str) -> Iterator[str]:
    if isinstance(item, Mapping) or (isinstance(item, (list, tuple)) and item):
        yield key
        yield from _yaml(item, indent)
    else:
        yield f"{key} {json.dumps(item)}"
