"""What became of the text: a waterfall per corpus, what each rule dropped, what was masked, how it was split."""

from __future__ import annotations

from collections.abc import Mapping

from lmpipe.report.axes import tight_axis
from lmpipe.report.charts import bar, kept_and_lost, tick_labels
from lmpipe.report.histograms import histogram
from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.model import (
    Clusters,
    Corpus,
    DataStep,
    DropRule,
    Example,
    Histogram,
    PersonalData,
    Report,
    Split,
    TextSource,
)
from lmpipe.report.numbers import NOT_RECORDED, compact, count, duration, fixed, plural, share, size
from lmpipe.report.parts import Section, bound_text, breakable, facts, readable
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
    tables = [
        _dropped(steps),
        _examples(given.rules),
        _histograms(given.histograms),
        *map(_clusters, given.clusters),
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
    on = tight_axis([step.rows_in for step in steps])
    columns = [
        Column("Step"),
        Column("Documents: kept, then lost", "graphic"),
        Column("Kept", "number"),
        Column("Lost", "number"),
        Column("Characters kept", "number"),
        Column("Time", "number"),
        Column("Characters/s", "number"),
    ]
    rows: list[list[Content | Cell]] = []
    for step in steps:
        lost = step.rows_in - step.rows_kept
        lost_text = f"{count(lost)} ({share(lost, step.rows_in)})" if lost else "0"
        characters = f"{compact(step.characters_kept)} ({share(step.characters_kept, step.characters_in)})"
        time, speed = _cost(step)
        rows.append(
            [step.name, kept_and_lost(step.rows_kept, lost, on), count(step.rows_kept), lost_text, characters, time, speed]
        )
    return table("What each step kept", columns, rows, axis=tick_labels(on), class_="chart-table")


def _cost(step: DataStep) -> tuple[str, str]:
    """Time and speed, where they were recorded."""
    if not step.seconds:
        return NOT_RECORDED, NOT_RECORDED
    return duration(step.seconds), compact(step.characters_in / step.seconds)


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
    return join([table(caption, columns, cells, axis=tick_labels(on), class_="chart-table"), note])


def _known(number: int | None) -> str:
    return NOT_RECORDED if number is None else count(number)


def _examples(rules: list[DropRule]) -> Markup | None:
    """For every rule, some documents that it dropped and those that it nearly dropped."""
    shown = [rule for rule in rules if rule.dropped or rule.nearest]
    if not shown:
        return None
    columns = [
        Column("Rule"),
        Column("Bound", "short"),
        Column("Dropped", "number"),
        Column("Such as"),
        Column("Nearest that stayed"),
    ]
    rows: list[list[Content | Cell]] = [
        [breakable(rule.name), _bound(rule), count(rule.documents), _listed(rule.dropped), _listed(rule.nearest)]
        for rule in shown
    ]
    summary = element("summary", f"Documents at the border of {plural(len(shown), 'rule')}")
    why = element("p", "`lmpipe data why RUN ID` tells the whole way of one document.", class_="note")
    return element("details", summary, table("", columns, rows, class_="borders"), why)


def _bound(rule: DropRule) -> Content:
    if rule.at_least is None and rule.at_most is None:
        return NOT_RECORDED
    return [f"{readable(rule.score)} ", bound_text(rule.at_most, rule.at_least)]


def _listed(examples: list[Example]) -> Content:
    """Ids with what was measured, each on a line of its own."""
    return [element("div", _id(example.id), _measured(example), class_="example") for example in examples] or NOT_RECORDED


def _measured(example: Example) -> Content:
    if example.duplicate_of:
        return [" repeats ", _id(example.duplicate_of)]
    return f" {fixed(example.value)}" if example.value is not None else None


def _id(identity: str) -> Markup:
    return element("code", identity, translate="no")


def _histograms(given: list[Histogram]) -> Markup | None:
    """Each score before and after; bounded ones first, the rest on demand."""
    bounded = [histogram(one) for one in given if one.bounds or one.before != one.after]
    others = [histogram(one) for one in given if not (one.bounds or one.before != one.after)]
    if not given:
        return None
    title = element("p", element("b", "Scores before and after the selection"), class_="charts-title")
    key = element(
        "p", "Filled: documents that stayed. Outlined, on top of them: dropped. Dashed: the recipe's bounds.", class_="note"
    )
    more = element(
        "details", element("summary", f"{plural(len(others), 'more score')}"), element("div", others, class_="small-charts")
    )
    return join([title, key, element("div", bounded, class_="small-charts"), more if others else None])


def _clusters(given: Clusters) -> Markup | None:
    """How many clusters of each size, and the largest of them."""
    if not given.sizes:
        return element("p", f"No document repeats another ({readable(given.kind)}).", class_="note")
    rows = [(f"{size} documents", number) for size, number in given.sizes.items()]
    on = tight_axis([number for _, number in rows])
    columns = [Column("Cluster of"), Column("Clusters", "graphic"), Column("Clusters", "number")]
    cells: list[list[Content | Cell]] = [[size, bar(0, number, on), count(number)] for size, number in rows]
    largest = [
        element("div", _id(identity), f" {count(number)}", class_="example") for identity, number in given.largest.items()
    ]
    note = element("div", "Largest, by the document that stayed:", largest, class_="note") if largest else None
    caption = f"Repeated documents, by size of cluster ({readable(given.kind)})"
    return join([table(caption, columns, cells, axis=tick_labels(on), class_="chart-table"), note])


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


def _shares(caption: str, first: str, rows: list[tuple[str, int]], total: int, unit: str) -> Markup:
    """Counts as bars, with each one's share of all."""
    on = tight_axis([number for _, number in rows])
    columns = [Column(first), Column(unit, "graphic"), Column(unit, "number"), Column("Share", "number")]
    cells: list[list[Content | Cell]] = [
        [name, bar(0, number, on), count(number), share(number, total)] for name, number in rows
    ]
    return table(caption, columns, cells, axis=tick_labels(on), class_="chart-table")
