"""How training went: one block per phase, with its curves over the tokens seen."""

from __future__ import annotations

from collections.abc import Sequence

from lmpipe.report.charts import LineChart, Marker, Series, line_chart
from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.model import Curve, Phase, Report, Sparsity, Written
from lmpipe.report.numbers import compact, count, fixed, share
from lmpipe.report.parts import Section, cut, facts
from lmpipe.report.tables import Cell, Column, table

POSITION_UNIT = "tokens seen"
MAX_TIMES = 8
"""Times of a phase at which its samples are shown, the first and the last among them."""


def section(report: Report) -> Section:
    """Every phase in order."""
    body = join(phase(one, number) for number, one in enumerate(report.phases, 1))
    tokens = sum(one.tokens for one in report.phases)
    fact = f"{compact(tokens)} tokens" if report.phases else ""
    return Section("training", "Training", fact, body or None, "No training was done in this run.")


def phase(given: Phase, number: int) -> Markup:
    """The phase's facts, its loss large, and the rest small beside each other."""
    prefix = f"phase-{number}"
    small = [
        _single(f"{prefix}-learning-rate", "Learning rate", given.learning_rate, from_zero=True),
        _single(f"{prefix}-gradient-norm", "Gradient norm", given.gradient_norm, log=True),
        _single(f"{prefix}-speed", "Speed", given.tokens_per_second, from_zero=True),
    ]
    charts = [chart for chart in small if chart is not None]
    return join(
        [
            element("h3", f"Phase {number}: {given.name}"),
            _facts(given),
            _losses(given, f"{prefix}-loss"),
            element("div", charts, class_="small-charts") if charts else None,
            *_written(given),
        ]
    )


def _facts(given: Phase) -> Markup:
    best: Content = None
    if given.best_step is not None:
        loss = f", validation loss {fixed(given.best_validation_loss)}" if given.best_validation_loss is not None else ""
        best = f"step {count(given.best_step)}{loss}"
    ended = given.stop_reason or ("stopped early" if given.stopped_early else "the budget was used up")
    return facts(
        [
            ("Steps", count(given.steps)),
            ("Tokens", count(given.tokens)),
            ("Processes", count(given.processes) if given.processes > 1 else None),
            ("Best weights", best),
            ("Pruned", _pruned(given.sparsity)),
            ("Ended because", f"{ended} (early stop)" if given.stopped_early and given.stop_reason else ended),
        ]
    )


def _pruned(given: Sparsity | None) -> Content:
    if given is None:
        return None
    return f"{share(given.pruned, given.of)} of the hidden matrices' {count(given.of)} weights are zero ({given.kind})"


def _written(given: Phase) -> list[Markup]:
    """One table for each prompt: what was written after it, from the start to the end of the phase."""
    if not given.written:
        return []
    columns = [Column("Tokens seen", "number"), Column("The model wrote")]
    first, last = given.written[0], given.written[-1]
    shown = [first, *thinned(given.written[1:-1], MAX_TIMES - 2), last] if len(given.written) > 1 else [first]
    tables = []
    for number, prompt in enumerate(given.prompts):
        caption = ["After ", element("q", cut(prompt))]
        rows: list[list[Content | Cell]] = [
            [Cell(compact(one.tokens), one.tokens), element("pre", cut(one.texts[number]))] for one in shown
        ]
        tables.append(table(caption, columns, rows))
    return tables


def thinned(given: Sequence[Written], most: int) -> list[Written]:
    """At most so many, evenly over all."""
    if len(given) <= most:
        return list(given)
    return [given[number * len(given) // most] for number in range(most)]


def _losses(given: Phase, name: str) -> Markup | None:
    series = [
        Series("training", given.training_loss.tokens, given.training_loss.values) if given.training_loss else None,
        Series("validation", given.validation_loss.tokens, given.validation_loss.values, "second")
        if given.validation_loss
        else None,
    ]
    drawn = [one for one in series if one is not None and one.positions]
    if not drawn:
        return element("p", "No loss was recorded.", class_="note")
    unit = (given.training_loss or given.validation_loss or Curve(unit="", tokens=[], values=[])).unit
    return line_chart(LineChart(name, "Loss", unit, POSITION_UNIT, drawn, scale="log", markers=_markers(given), tall=True))


def _markers(given: Phase) -> list[Marker]:
    markers = [] if given.best_tokens is None else [Marker(given.best_tokens, "best weights")]
    return [*markers, Marker(given.tokens, "stopped early")] if given.stopped_early else markers


def _single(name: str, title: str, curve: Curve | None, *, from_zero: bool = False, log: bool = False) -> Markup | None:
    if curve is None or not curve.tokens:
        return None
    series = [Series(title.lower(), curve.tokens, curve.values)]
    return line_chart(
        LineChart(name, title, curve.unit, POSITION_UNIT, series, scale="log" if log else "linear", from_zero=from_zero)
    )
