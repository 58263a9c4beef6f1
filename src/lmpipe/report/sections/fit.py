"""Overfitted, underfitted, fine or unclear: one verdict for each phase of training, with what speaks for it."""

from __future__ import annotations

from lmpipe.report.html import Markup, element, join
from lmpipe.report.model import Report
from lmpipe.report.numbers import count
from lmpipe.report.parts import Section, Tone, facts, sign
from lmpipe.report.task_model import Fit

TONES: dict[str, Tone] = {"fine": "good", "overfitted": "bad", "underfitted": "bad", "unclear": "unsure"}


def section(report: Report) -> Section:
    """Every phase's verdict; the last phase's is the one fact."""
    body = join(_fit(one) for one in report.fits)
    fact = report.fits[-1].verdict if report.fits else ""
    note = element(
        "p",
        "Drawn from the curves above, from texts that stand in training and test, and from the memorization audit. "
        "The bounds behind it are rules of thumb.",
        class_="note",
    )
    missing = "No phase of training left losses to judge."
    return Section("fit", "Overfitting watch", fact, join([note, body]) if report.fits else None, missing)


def _fit(given: Fit) -> Markup:
    standing = element("p", sign(TONES[given.verdict]), " ", element("b", given.verdict.capitalize()), class_="standing")
    numbers = facts(
        [
            ("Best step", None if given.best_step is None else count(given.best_step)),
            ("Last step", None if given.last_step is None else count(given.last_step)),
            ("Gap at the end", None if given.gap is None else f"{given.gap:+.1%}"),
        ]
    )
    lines = element("ul", [element("li", line) for line in given.evidence])
    return join([element("h3", f"Phase {given.phase}"), standing, numbers, lines])
