"""What a selection did: documents at the border of each rule, scores before and after. A part of the section on data."""

from __future__ import annotations

from lmpipe.report.histograms import histogram
from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.model import DropRule, Example, Histogram
from lmpipe.report.numbers import count, fixed, plural
from lmpipe.report.parts import bound_text, breakable, readable
from lmpipe.report.tables import Cell, Column, table


def borders(rules: list[DropRule]) -> Markup | None:
    """For every rule, some documents that it dropped and those that it nearly dropped."""
    shown = [rule for rule in rules if rule.dropped or rule.nearest]
    if not shown:
        return None
    summary = element("summary", f"Documents at the border of {plural(len(shown), 'rule')}")
    why = element("p", element("code", "lmpipe data why RUN ID"), " tells the whole way of one document.", class_="note")
    return element("details", summary, why, map(_border, shown))


def _border(rule: DropRule) -> Markup:
    words = [f"{readable(rule.score)} {bound_text(rule.at_most, rule.at_least)}"] if rule.score else []
    title = element("p", element("b", breakable(rule.name)), " ", "; ".join([*words, f"{count(rule.documents)} dropped"]))
    sides = [("Dropped, such as", rule.dropped), ("Nearest that stayed", rule.nearest)]
    lists = [_documents(caption, examples) for caption, examples in sides if examples]
    return element("div", title, element("div", lists, class_="side-by-side"), class_="border")


def _documents(caption: str, examples: list[Example]) -> Markup:
    repeats = any(example.duplicate_of for example in examples)
    columns = [Column("Document"), Column("Repeats", "text") if repeats else Column("Value", "number")]
    rows: list[list[Content | Cell]] = [[document_id(example.id), _measured(example)] for example in examples]
    return table(caption, columns, rows, class_="plain")


def _measured(example: Example) -> Content:
    if example.duplicate_of:
        return document_id(example.duplicate_of)
    return fixed(example.value) if example.value is not None else None


def document_id(identity: str) -> Markup:
    """A document's id: not to be translated, and copied as it is."""
    return element("code", identity, translate="no")


def histograms(given: list[Histogram]) -> Markup | None:
    """Each score before and after; bounded ones first, the rest on demand."""
    bounded = [histogram(one) for one in given if one.bounds or one.before != one.after]
    others = [histogram(one) for one in given if not (one.bounds or one.before != one.after)]
    if not given:
        return None
    title = element("p", element("b", "Scores before and after the selection"), class_="charts-title")
    words = "Filled: documents that stayed. Outlined, on top of them: dropped. Dashed: the recipe's bounds."
    key = element("p", words, " Heights are square roots, so that few are seen beside many.", class_="note")
    more = element(
        "details", element("summary", f"{plural(len(others), 'more score')}"), element("div", others, class_="small-charts")
    )
    return join([title, key, element("div", bounded, class_="small-charts"), more if others else None])
