"""The pieces that sections share: a section itself, a list of facts, a code block, a sign for each verdict.

Does not know: any one section.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from lmpipe.base.measures import Finding, Metric
from lmpipe.report.html import Content, Markup, element
from lmpipe.report.numbers import bound, count, exact

Tone = Literal["good", "bad", "unsure", "plain"]

MAX_TEXT = 4_000
"""Characters of one sample or one quoted document that the page shows."""

MAX_CODE = 100_000
"""Characters of one code block (a recipe, its resolved JSON) that the page shows."""

VERDICT_TONES: dict[str, Tone] = {"GO": "good", "NO-GO": "bad", "INCONCLUSIVE": "unsure"}

_SHAPES: dict[Tone, str] = {
    "good": "M5 12.5l4.5 4.5L19 7.5",
    "bad": "M6 6l12 12M18 6L6 18",
    "unsure": "M8.2 9a3.8 3.8 0 1 1 5.6 3.4c-1.3.7-1.8 1.3-1.8 2.6M12 18.6v.2",
    "plain": "M6 12h12",
}


@dataclass(frozen=True)
class Section:
    """One section of the page. Without a body it says what is missing."""

    id: str
    title: str
    fact: str
    """The one number or word that the table of contents shows beside the title."""
    body: Content
    missing: str = ""
    """Why there is no body, in one sentence."""


def facts(pairs: Iterable[tuple[Content, Content]], *, class_: str = "facts") -> Markup:
    """A list of terms and values; a pair whose value is None or empty is left out."""
    groups = [element("div", element("dt", term), element("dd", value)) for term, value in pairs if value not in (None, "")]
    return element("dl", groups, class_=class_)


def settings(values: Mapping[str, str | int | float | bool | None]) -> str:
    """Settings on one line: `temperature 0.8 · top p 0.95 · seed 1`."""
    return " · ".join(f"{name.replace('_', ' ')} {setting(value)}" for name, value in values.items())


def setting(value: str | int | float | bool | None) -> str:
    """One value of a configuration, as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return value if isinstance(value, str) else exact(value)


def code_block(text: str, label: str) -> Markup:
    """Preformatted text in a box that scrolls, and that the keyboard can reach to scroll it."""
    code = element("code", cut(text, MAX_CODE), translate="no")
    return element("pre", code, class_="code", tabindex="0", role="region", aria_label=label)


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """The text, or its beginning and how much was left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n[{count(len(text) - limit)} more characters]"


def sign(tone: Tone) -> Markup:
    """A drawn sign whose shape, not only its colour, tells the verdicts apart. Text beside it says the same."""
    path = element("path", d=_SHAPES[tone])
    return element("svg", path, class_=f"sign {tone}", viewBox="0 0 24 24", width="24", height="24", aria_hidden="true")


def readable(name: str) -> str:
    """The last part of a dotted name, in words: `corpus.test.bits_per_byte` is `bits per byte`."""
    return name.rsplit(".", 1)[-1].replace("_", " ")


def capital(text: str) -> str:
    """The text with its first letter large; the rest stays, unlike with `str.capitalize`: `1.5 M` is not `1.5 m`."""
    return text[:1].upper() + text[1:]


def qualifier(name: str) -> str:
    """What stands before the last part: `corpus, test`."""
    return ", ".join(part.replace("_", " ") for part in name.split(".")[:-1])


def label(one: Metric | Finding) -> str:
    """What a number is called on its own: a finding keeps its audit's name in front, `Memorization: extractable`."""
    words = readable(one.name)
    if isinstance(one, Finding) and "." in one.name:
        audit = qualifier(one.name)
        words = audit if words == one.unit.lower() else f"{audit}: {words}"  # `energy.wh` is called energy
    return capital(words)


def named(name: str) -> Markup:
    """A metric's or finding's name: in words, then as the recipe spells it."""
    return element("span", element("span", readable(name), class_="readable"), " ", breakable(name), class_="named")


def breakable(name: str) -> Markup:
    """A dotted name as code that may break after a dot or an underscore, and nowhere else."""
    return element("code", at_joints(name))


def at_joints(text: str) -> list[Content]:
    """Text that may break after a dot or an underscore, and nowhere else within a word."""
    return [[element("wbr") if i else None, piece] for i, piece in enumerate(re.split(r"(?<=[._])", text))]


def bound_text(at_most: float | None, at_least: float | None, unit: str = "") -> str:
    """A requirement in words: `at most 2.2 bits per byte`."""
    parts = [f"at most {bound(at_most, unit)}"] if at_most is not None else []
    parts += [f"at least {bound(at_least, unit)}"] if at_least is not None else []
    return " and ".join(parts)


def find(name: str, among: Iterable[Metric | Finding]) -> Metric | Finding | None:
    """The metric or finding of that name."""
    return next((one for one in among if one.name == name), None)
