"""What became of the text: a waterfall per corpus, what each rule dropped, what was masked, how it was split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmpipe.report.axes import tight_axis
from lmpipe.report.charts import bar, tick_labels, waterfall_bar
from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.model import (
    Clusters,
    Corpus,
    DataStep,
    FactTable,
    PersonalData,
    Report,
    Split,
    TextSource,
)
from lmpipe.report.numbers import NOT_RECORDED, compact, count, duration, fixed, plural, share, size
from lmpipe.report.parts import Section, at_joints, breakable, facts, readable
from lmpipe.report.sections.selection import borders, document_id, histograms
from lmpipe.report.tables import Cell, Column, table


def section(report: Report) -> Section:
    """Every corpus in order."""
    kept = sum(one.steps[-1].rows_out for one in report.corpora if one.steps)
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
                "Left",
                f"{plural(steps[-1].rows_out, 'document')}, {compact(steps[-1].characters_out)} characters" if steps else None,
            ),
        ]
    )
    tables = [
        _dropped(steps),
        borders(given.rules),
        histograms(given.histograms),
        *map(_clusters, given.clusters),
        *map(_facts, given.facts),
        _personal_data(given.personal_data),
        _splits(given.splits),
        _shared("Licences", "Licence", given.licences),
        _shared("Languages", "Language", given.languages),
        _sources(given.largest_sources, given.sources),
    ]
    limits = element("p", element("b", "What this does not show. "), given.limits, class_="limits") if given.limits else None
    return join([element("h3", f"Corpus: {given.name}"), overview, _waterfall(steps), tables, limits])


def _waterfall(steps: list[DataStep]) -> Markup | None:
    if not steps:
        return element("p", "No step of the cleaning was recorded.", class_="note")
    on = tight_axis([max(step.rows_in, step.rows_out) for step in steps])
    grows = any(step.added for step in steps)
    columns = [
        Column("Step"),
        Column("Documents: kept, then lost or added" if grows else "Documents: kept, then lost", "graphic"),
        Column("Kept", "number"),
        Column("Lost", "number"),
        *([Column("Added", "number")] if grows else []),
        Column("Characters kept", "number"),
        Column("Tokens, about", "number"),
        Column("Time", "number"),
        Column("Characters/s", "number"),
    ]
    rows: list[list[Content | Cell]] = []
    for step in steps:
        lost = step.rows_in - step.rows_kept
        lost_text = f"{count(lost)} ({share(lost, step.rows_in)})" if lost else "0"
        characters = f"{compact(step.characters_kept)} ({share(step.characters_kept, step.characters_in)})"
        tokens = NOT_RECORDED if step.tokens_kept is None else compact(step.tokens_kept)
        added = [count(sum(step.added.values()))] if grows else []
        numbers = [count(step.rows_kept), lost_text, *added, characters, tokens, *_cost(step)]
        rows.append([step.name, waterfall_bar(step.rows_kept, lost, sum(step.added.values()), on), *numbers])
    shown = table("What each step kept", columns, rows, axis=tick_labels(on), class_="chart-table")
    return join([shown, note]) if (note := _ways(steps)) else shown


def _ways(steps: Sequence[DataStep]) -> Markup | None:
    """How documents were made from others, step by step."""
    told = [
        f"{step.name} added {', '.join(f'{how} {count(number)}' for how, number in step.added.items()) or 0}"
        f" ({compact(step.characters_added)} characters)"
        for step in steps
        if step.added or step.characters_added
    ]
    return element("p", f"{'; '.join(told)}.", class_="note") if told else None


def _cost(step: DataStep) -> tuple[str, str]:
    """Time and speed, where they were recorded."""
    if not step.seconds:
        return NOT_RECORDED, NOT_RECORDED
    return duration(step.seconds), compact(step.characters_in / step.seconds)


def _dropped(steps: list[DataStep]) -> Markup | None:
    counts = [(f"{step.name}: {rule}", number) for step in steps for rule, number in step.dropped.items()]
    failures = [(f"{step.name}: failed, {error}", number) for step in steps for error, number in step.failed.items()]
    both = sorted([*counts, *failures], key=lambda entry: (-entry[1], entry[0]))
    if not both:
        return None
    total = sum(number for _, number in both)
    return _shares("Why documents were lost", "Step and rule", [(at_joints(rule), n) for rule, n in both], total, "Documents")


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


FATES = {
    "mask": "masked",
    "pseudonym": "replaced by pseudonyms",
    "drop": "found; its documents were dropped",
    "tag": "found and left in the text",
}


def _personal_data(given: PersonalData | None) -> Markup | None:
    if given is None:
        return None
    rows = sorted(((kind, n) for kind, n in given.counts.items() if n), key=lambda entry: (-entry[1], entry[0]))
    if not rows:
        return element("p", "Personal data: nothing was found.", class_="note")
    on = tight_axis([number for _, number in rows])
    columns = [Column("Kind"), Column("Places", "graphic"), Column("Places", "number"), Column("Documents", "number")]
    cells: list[list[Content | Cell]] = [
        [kind.replace("_", " "), bar(0, number, on), count(number), _known(given.documents_by_kind.get(kind))]
        for kind, number in rows
    ]
    caption = f"Personal data {FATES[given.action]}, in {plural(given.documents, 'document')}"
    unseen = [kind.replace("_", " ") for kind, number in given.counts.items() if not number]
    note = element("p", f"Looked for and not found: {', '.join(unseen)}.", class_="note") if unseen else None
    names = element("p", given.names_found_by, class_="note") if given.names_found_by else None
    return join([table(caption, columns, cells, axis=tick_labels(on), class_="chart-table"), note, names])


def _known(number: int | None) -> str:
    return NOT_RECORDED if number is None else count(number)


def _clusters(given: Clusters) -> Markup | None:
    """How many clusters of each size, and the largest of them."""
    if not given.sizes:
        return element("p", f"No document repeats another ({readable(given.kind)}).", class_="note")
    rows = [(f"{size} documents", number) for size, number in given.sizes.items()]
    on = tight_axis([number for _, number in rows])
    columns = [Column("Cluster of"), Column("Clusters", "graphic"), Column("Clusters", "number")]
    cells: list[list[Content | Cell]] = [[size, bar(0, number, on), count(number)] for size, number in rows]
    largest = [
        element("div", document_id(identity), f" {count(number)}", class_="example")
        for identity, number in given.largest.items()
    ]
    note = element("div", "Largest, by the document that stayed:", largest, class_="note") if largest else None
    caption = f"Repeated documents, by size of cluster ({readable(given.kind)})"
    return join([table(caption, columns, cells, axis=tick_labels(on), class_="chart-table"), note])


def _facts(given: FactTable) -> Markup:
    """A table of counts as it came; numbers to the right."""
    numeric = [all(isinstance(row[i], (int, float)) for row in given.rows) for i in range(len(given.columns))]
    columns = [
        Column(title, "number" if is_number else "text") for title, is_number in zip(given.columns, numeric, strict=True)
    ]
    rows: list[list[Content | Cell]] = [
        [count(value) if isinstance(value, int) else fixed(value) if isinstance(value, float) else value for value in row]
        for row in given.rows
    ]
    note = element("p", given.note, class_="note") if given.note else None
    return join([table(given.title, columns, rows), note])


def _sources(given: list[TextSource], total: int) -> Markup | None:
    if not given:
        return None
    columns = [Column("Source"), Column("Licence", "short"), Column("Documents", "number"), Column("Characters", "number")]
    rows: list[list[Content | Cell]] = [
        [breakable(source.name), source.licence, count(source.documents), count(source.characters)] for source in given
    ]
    summary = element("summary", f"The largest {count(len(given))} of {plural(total, 'source')}")
    return element("details", summary, table("", columns, rows))


def _shared(title: str, first: str, given: Mapping[str, int]) -> Markup | None:
    if not given:
        return None
    rows = sorted(given.items(), key=lambda entry: (-entry[1], entry[0]))
    return _shares(title, first, [(name or "not stated", number) for name, number in rows], sum(given.values()), "Documents")


def _shares(caption: str, first: str, rows: Sequence[tuple[Content, int]], total: int, unit: str) -> Markup:
    """Counts as bars, with each one's share of all."""
    on = tight_axis([number for _, number in rows])
    columns = [Column(first), Column(unit, "graphic"), Column(unit, "number"), Column("Share", "number")]
    cells: list[list[Content | Cell]] = [
        [name, bar(0, number, on), count(number), share(number, total)] for name, number in rows
    ]
    return table(caption, columns, cells, axis=tick_labels(on), class_="chart-table")
