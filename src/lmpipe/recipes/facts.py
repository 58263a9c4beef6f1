"""What steps counted beside their ledgers, as tables for the page: contamination, what a model wrote, what was made from other
documents, how good trained filters are; everything else as it came.

A step that leaves `{group: {count: number}}` in the data card is shown without a line of code here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lmpipe.export.data_card import account_row, reasons
from lmpipe.report.model import FactTable
from lmpipe.report.numbers import share

SHOWN_ELSEWHERE = frozenset(
    {
        "name", "steps", "sources", "source_count", "failures", "dropped", "bounds", "nearest_kept", "scores", "duplicates",
        "pii", "names", "splits", "licences", "languages", "canaries", "costs",
    }
)  # fmt: skip
SHOWN_ITEMS = 20


def fact_tables(card: Mapping[str, Any]) -> list[FactTable]:
    """Tables of all that a corpus's card holds and the page shows nowhere else."""
    tables: list[FactTable] = []
    for name, make in TABLES.items():
        tables += make(card[name]) if card.get(name) else []
    for name, value in card.items():
        if name not in SHOWN_ELSEWHERE and name not in TABLES and isinstance(value, Mapping):
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


def _synthesis(made: Mapping[str, Any]) -> Iterator[FactTable]:
    """Who wrote the text, and what it took."""
    yield FactTable(
        title="Synthesis: this text was written by a model",
        note=f"{made['questions']:,} questions were asked, {made['documents']:,} examples are left.",
        columns=["Role", "Generator", "Questions", "Tokens in", "Tokens out", "Cost"],
        rows=[_account(role, made[role]) for role in ("generator", "judge") if role in made],
    )


def _augmentation(made: Mapping[str, Any]) -> Iterator[FactTable]:
    """Documents that were made from others: how many of each kind, and their share of what is trained on."""
    original, augmented = (made["documents"][key] for key in ("original", "augmented"))
    yield FactTable(
        title="Training documents made from others",
        note=f"{augmented:,} documents, {share(augmented, original + augmented)} of the training side, none of another. Each "
        "names its parent and how it was made in its metadata (parent, augmented_by).",
        columns=["Kind", "Parents", "Documents", "Share of training documents", "Characters", "Not made because"],
        rows=[
            [
                _words(kind),
                counts["parents"],
                counts["documents"],
                share(counts["documents"], original + augmented),
                counts["characters"],
                reasons(counts["not_made"], {}),
            ]
            for kind, counts in made["kinds"].items()
        ],
    )
    asked = [_account(kind, counts["usage"]) for kind, counts in made["kinds"].items() if "usage" in counts]
    if asked:
        columns = ["Kind", "Generator", "Questions", "Tokens in", "Tokens out", "Cost"]
        yield FactTable(title="Made by a model", columns=columns, rows=asked)


def _classifiers(found: Mapping[str, Any]) -> Iterator[FactTable]:
    """How well trained filters tell their two kinds apart, and whom they wrong."""
    yield FactTable(
        title="Trained filters",
        note="Measured on held-out text of the corpora that taught them.",
        columns=["Filter", "AUC on held-out text", "95% interval", "Held out, first kind", "Held out, second kind"],
        rows=[
            [
                _words(name),
                f"{facts['auc']:.3f}",
                f"{facts['auc_low']:.3f} to {facts['auc_high']:.3f}",
                facts["held_out"]["positive"],
                facts["held_out"]["negative"],
            ]
            for name, facts in found.items()
        ],
    )
    alarms: list[list[str | int | float]] = [
        [_words(name), part["corpus"], group, rates["documents"], f"{rates['above_0.5']:.1%}"]
        for name, facts in found.items()
        for part in facts.get("identity", ())
        for group, rates in part["groups"].items()
    ]
    if alarms:
        yield FactTable(
            title="False alarms on harmless texts about groups of people",
            note="Share of the harmless texts that score above 0.5.",
            columns=["Filter", "Set", "Group", "Harmless texts", "False alarms"],
            rows=alarms,
        )


def _account(role: str, usage: Mapping[str, Any]) -> list[str | int | float]:
    return [cell.replace("`", "") for cell in account_row(role, usage)]


TABLES: Mapping[str, Callable[[Mapping[str, Any]], Iterator[FactTable]]] = {
    "contamination": _contamination,
    "synthesis": _synthesis,
    "augmentation": _augmentation,
    "classifiers": _classifiers,
}
"""What is shown by name, in this order."""


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
