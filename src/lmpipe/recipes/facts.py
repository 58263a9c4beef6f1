"""What steps counted beside their ledgers, as tables for the page: contamination by name, everything else as it came.

A step that leaves `{group: {count: number}}` in the data card is shown without a line of code here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lmpipe.report.model import FactTable

SHOWN_ELSEWHERE = frozenset(
    {
        "name", "steps", "sources", "source_count", "failures", "dropped", "bounds", "nearest_kept", "scores", "duplicates",
        "pii", "names", "splits", "licences", "languages", "canaries", "costs",
    }
)  # fmt: skip
SHOWN_ITEMS = 20


def fact_tables(card: Mapping[str, Any]) -> list[FactTable]:
    """Tables of all that a corpus's card holds and the page shows nowhere else."""
    tables = list(_contamination(card["contamination"])) if card.get("contamination") else []
    for name, value in card.items():
        if name not in SHOWN_ELSEWHERE and name != "contamination" and isinstance(value, Mapping):
            tables += _generic(name, value)
    return tables


def _contamination(found: Mapping[str, Any]) -> Iterator[FactTable]:
    """Evaluation items that training text held: by set, then the most frequent ones."""
    rows = [[name, *(counts[key] for key in ("items", "too_short", "found"))] for name, counts in found["sets"].items()]
    yield FactTable(
        title="Evaluation items found in training text",
        note=f"{found['documents']:,} training documents that held one were taken out.",
        columns=["Set", "Items", "Too short to look for", "Found"],
        rows=rows,
    )
    items = found.get("items", ())[:SHOWN_ITEMS]
    if items:
        yield FactTable(
            title="Items found most often",
            columns=["Item", "Documents", "Such as"],
            rows=[[f"{item['set']}/{item['item']}", item["documents"], ", ".join(item["in"])] for item in items],
        )


def _generic(name: str, value: Mapping[str, Any]) -> Iterator[FactTable]:
    """Numbers of one level as one row each; groups of numbers as a table with a column for each."""
    title = name.replace("_", " ").capitalize()
    plain = {key: inner for key, inner in value.items() if _is_number(inner)}
    if plain:
        yield FactTable(title=title, columns=["What", "Count"], rows=[[_words(key), n] for key, n in plain.items()])
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            groups = inner if all(isinstance(group, Mapping) for group in inner.values()) else {key: inner}
            columns = list(dict.fromkeys(c for group in groups.values() for c, n in group.items() if _is_number(n)))
            if columns:
                rows = [[_words(group), *(numbers.get(column, 0) for column in columns)] for group, numbers in groups.items()]
                yield FactTable(title=f"{title}: {_words(key)}", columns=["", *map(_words, columns)], rows=rows)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _words(name: str) -> str:
    return name.replace("_", " ")
