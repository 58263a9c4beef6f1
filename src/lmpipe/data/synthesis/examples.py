"""Answers to examples, and which of these stay: rules first, then the judge."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from lmpipe.data.generation.asking import Answer, Refusal
from lmpipe.data.synthesis.config import JudgeConfig, RulesConfig

PARAGRAPHS = re.compile(r"\n\s*\n")
UNREADABLE = "judge.unreadable"


class Verdict(NamedTuple):
    """The rule that an example breaks, with value and threshold where the rule has numbers."""

    rule: str
    value: float | None = None
    threshold: float | None = None


def divided(text: str, unit: str) -> list[str]:
    """The examples in an answer, without white space around them.

    >>> divided("one\\n\\ntwo\\nlines\\n", "paragraph")
    ['one', 'two\\nlines']
    """
    parts = PARAGRAPHS.split(text) if unit == "paragraph" else text.splitlines() if unit == "line" else [text]
    return [part.strip() for part in parts if part.strip()]


def broken_rule(text: str, rules: RulesConfig, must_contain: Sequence[str]) -> Verdict | None:
    """The first rule that a text breaks.

    Args:
        text: the example.
        rules: the recipe's.
        must_contain: those of the rules, their slots filled.
    """
    length = float(len(text))
    if length < rules.min_characters:
        return Verdict("rules.min_characters", length, rules.min_characters)
    if rules.max_characters is not None and length > rules.max_characters:
        return Verdict("rules.max_characters", length, rules.max_characters)
    for wanted in must_contain:
        if wanted not in text:
            return Verdict("rules.must_contain")
    for expression in rules.must_match:
        if not re.search(expression, text):
            return Verdict("rules.must_match")
    for expression in rules.must_not_match:
        if re.search(expression, text):
            return Verdict("rules.must_not_match")
    return None


def judged(answer: Answer | Refusal, judge: JudgeConfig) -> tuple[float | None, Verdict | None]:
    """(score, why the example goes): the last match of the pattern is the score, so that a judge may reason first.

    A verdict that holds no number is no approval.
    """
    if isinstance(answer, Refusal):
        return None, Verdict(UNREADABLE)
    score = None
    for found in re.finditer(judge.pattern, answer.text):
        try:
            score = float(found[1])
        except (TypeError, ValueError):  # the group took no part, or holds no number
            continue
    if score is None:
        return None, Verdict(UNREADABLE)
    return score, (Verdict("judge.at_least", score, judge.at_least) if score < judge.at_least else None)
