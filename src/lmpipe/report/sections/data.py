"""What became of the text: a waterfall per corpus, what each rule dropped, what was masked, how it was split."""

from __future__ import annotations

from collections.abc import Mapping

from lmpipe.report.axes import tight_axis
from lmpipe.report.charts import bar, kept_and_lost, tick_labels
from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.model import Corpus, DataStep, PersonalData, Report, Split
from lmpipe.report.numbers import NOT_RECORDED, compact, count, plural, share, size
from lmpipe.report.parts import Section, facts
from lmpipe.report.tables import Cell, Column, table


def section(report: Report) -> Section:
    """Every corpus in order."""
    kept = sum(one.steps[-1].rows_kept for one in report.corpora if one.steps)
    fact = plural(kept, "document") if kept else ""
    return Section("data", "Data", fact, join(map(corpus, report.corpora)) or None, "No corpus was read in this run.")


def corpus(given: Corpus) -> Markup:
    """One corpus: facts, waterfall, and the tables that explain it."""
    steps = given.steps
    overview = facts(
        [
            ("Sources", count(given.sources)),
            (
                "Read",
                f"{plural(steps[0].rows_in, 'document')}, {compact(steps[0].characters_in)} characters" if steps else None,
            ),
            (
                "Kept",
                f"{plural(steps[-1].rows_kept, 'document')}, {compact(steps[-1].characters_kept)} characters"
                if steps
                else None,
            ),
        ]
    )
    tables = [_dropped(steps), _splits(given.splits), _personal_data(given.personal_data), _licences(given.licences)]
    limits = element("p", element("b", "What this does not show. "), given.limits, class_="limits") if given.limits else None
    return join([element("h3", f"Corpus: {given.name}"), overview, _waterfall(steps), tables, limits])


def _waterfall(steps: list[DataStep]) -> Markup | None:
    if not steps:
        return element("p", "No step of the cleaning was recorded.", class_="note")
    on = tight_axis([step.rows_in for step in steps])
    columns = [
        Column("Step"),
        Column("Documents: kept, then lost", "graphic"),
        Column("Kept", "number"),
        Column("Lost", "number"),
        Column("Characters kept", "number"),
    ]
    rows: list[list[Content | Cell]] = []
    for step in steps:
        lost = step.rows_in - step.rows_kept
        lost_text = f"{count(lost)} ({share(lost, step.rows_in)})" if lost else "0"
        characters = f"{compact(step.characters_kept)} ({share(step.characters_kept, step.characters_in)})"
        rows.append([step.name, kept_and_lost(step.rows_kept, lost, on), count(step.rows_kept), lost_text, characters])
    return table("What each step kept", columns, rows, axis=tick_labels(on), class_="chart-table")


def _dropped(steps: list[DataStep]) -> Markup | None:
    counts = [(f"{step.name}: {rule}", number, "kept") for step in steps for rule, number in step.dropped.items()]
    failures = [(f"{step.name}: failed, {error}", number, "other") for step in steps for error, number in step.failed.items()]
    both = sorted([*counts, *failures], key=lambda entry: (-entry[1], entry[0]))
    if not both:
        return None
    total = sum(number for _, number, _ in both)
    return _shares("Why documents were lost", "Step and rule", [(rule, number) for rule, number, _ in both], total, "Documents")


def _splits(splits: list[Split]) -> Markup | None:
    if not splits:
        return None
    on = tight_axis([split.documents for split in splits])
    columns = [
        Column("Split"),
        Column("Documents", "graphic"),
        Column("Documents", "number"),
        Column("Characters", "number"),
        Column("Bytes", "number"),
        Column("Tokens", "number"),
    ]
    rows: list[list[Content | Cell]] = [
        [
            split.name,
            bar(0, split.documents, on),
            count(split.documents),
            count(split.characters),
            size(split.bytes),
            NOT_RECORDED if split.tokens is None else count(split.tokens),
        ]
        for split in splits
    ]
    return table("Splits", columns, rows, axis=tick_labels(on), class_="chart-table")


def _personal_data(given: PersonalData | None) -> Markup | None:
    if given is None:
        return None
    touched = f"Personal data masked, in {plural(given.documents, 'document')}"
    rows = sorted(given.counts.items(), key=lambda entry: (-entry[1], entry[0]))
    if not rows:
        return element("p", "Personal data: nothing was found to mask.", class_="note")
    return _shares(touched, "Kind", rows, sum(given.counts.values()), "Places masked")


def _licences(given: Mapping[str, int]) -> Markup | None:
    if not given:
        return None
    rows = sorted(given.items(), key=lambda entry: (-entry[1], entry[0]))
    return _shares(
        "Licences", "Licence", [(name or "not stated", number) for name, number in rows], sum(given.values()), "Documents"
    )


def _shares(caption: str, first: str, rows: list[tuple[str, int]], total: int, unit: str) -> Markup:
    """Counts as bars, with each one's share of all."""
    on = tight_axis([number for _, number in rows])
    columns = [Column(first), Column(unit, "graphic"), Column(unit, "number"), Column("Share", "number")]
    cells: list[list[Content | Cell]] = [
        [name, bar(0, number, on), count(number), share(number, total)] for name, number in rows
    ]
    return table(caption, columns, cells, axis=tick_labels(on), class_="chart-table")
