"""The tokenizer and the model, by numbers."""

from __future__ import annotations

from lmpipe.report.axes import tight_axis
from lmpipe.report.charts import bar, tick_labels
from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.model import Architecture, Report, Tokenizer
from lmpipe.report.numbers import NOT_RECORDED, compact, count, fixed
from lmpipe.report.parts import Section, facts, setting
from lmpipe.report.tables import Cell, Column, table


def section(report: Report) -> Section:
    """Both, each if there."""
    body = join(
        [
            _architecture(report.architecture) if report.architecture else None,
            _tokenizer(report.tokenizer) if report.tokenizer else None,
        ]
    )
    fact = f"{compact(report.architecture.parameters)} parameters" if report.architecture else ""
    if not fact and report.tokenizer:
        fact = f"vocabulary of {count(report.tokenizer.vocab_size)}"
    return Section("model", "Model and tokenizer", fact, body or None, "Neither a model nor a tokenizer was made in this run.")


def _architecture(given: Architecture) -> Markup:
    predicted = given.parameters_predicted
    if predicted is None:
        agreement = "not predicted"
    else:
        agreement = "as predicted" if predicted == given.parameters else f"predicted {count(predicted)}"
    return join(
        [
            element("h3", "Model"),
            facts(
                [
                    ("Kind", given.kind),
                    ("Parameters", [count(given.parameters), " ", element("small", agreement)]),
                    ("Layers", count(given.layers)),
                    ("Width", count(given.width)),
                    ("Context", f"{count(given.context_length)} tokens"),
                    *((name.replace("_", " ").capitalize(), setting(value)) for name, value in given.settings.items()),
                ]
            ),
        ]
    )


def _tokenizer(given: Tokenizer) -> Markup:
    rate = None
    if given.bytes_per_token is not None:
        rate = [
            fixed(given.bytes_per_token),
            " ",
            element("small", f"on the {given.measured_on}") if given.measured_on else None,
        ]
    pairs = [("Kind", given.kind), ("Vocabulary", f"{count(given.vocab_size)} tokens"), ("Bytes per token", rate)]
    kinds = dict.fromkeys(group.by for group in given.groups)
    return join([element("h3", "Tokenizer"), facts(pairs), *(_groups(given, by) for by in kinds)])


def _groups(given: Tokenizer, by: str) -> Markup:
    """How long tokens are in each part: shorter ones cost more for the same text."""
    groups = [group for group in given.groups if group.by == by]
    on = tight_axis([0, *(group.bytes_per_token for group in groups)])
    columns = [
        Column(by.capitalize()),
        Column("Bytes per token", "graphic"),
        Column("Bytes per token", "number"),
        Column("Tokens per word", "number"),
        Column("Documents", "number"),
    ]
    rows: list[list[Content | Cell]] = [
        [
            group.name,
            bar(0, group.bytes_per_token, on),
            fixed(group.bytes_per_token),
            NOT_RECORDED if group.tokens_per_word is None else fixed(group.tokens_per_word),
            count(group.documents),
        ]
        for group in groups
    ]
    return table(f"Tokens of held-out text by {by}", columns, rows, axis=tick_labels(on), class_="chart-table")
