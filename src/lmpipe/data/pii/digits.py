"""Where a text has enough digits beside each other for a number that matters: what is expensive is done only there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

RUN = re.compile(r"\d[\d().\- ]{5,}", re.ASCII)
MARGIN = 64
"""More than any finder looks at beside its digits."""
NEIGHBOURS = re.compile(rf"\d(?:\D{{0,{2 * MARGIN}}}\d)*", re.ASCII)
LONGEST_TAIL = 8
"""Characters behind a run that may belong to a number: an extension such as ` ext. 123`."""


def matches_in_runs(pattern: re.Pattern[str], text: str, margin: int, tail: int = LONGEST_TAIL) -> Iterator[re.Match[str]]:
    """Matches of `pattern` that begin in, or `margin` characters before, a run of at least six digits and separators, and end
    at most `tail` characters behind it."""
    for start, end in _runs(text):
        yield from pattern.finditer(text, max(0, start - margin), end + tail)


def windows(text: str) -> Iterator[tuple[int, str]]:
    """The stretches around digits, with what may say what they are: (where it begins, text). They do not touch each other."""
    for match in NEIGHBOURS.finditer(text):
        start = max(0, match.start() - MARGIN)
        yield start, text[start : match.end() + MARGIN]


def has_run(window: str) -> bool:
    """Whether there are six digits and separators in a row."""
    return bool(_runs(window))


@lru_cache(maxsize=1)
def _runs(text: str) -> tuple[tuple[int, int], ...]:
    """Remembered for the text at hand: a dozen finders ask."""
    return tuple(match.span() for match in RUN.finditer(text))


def continues(text: str, start: int, end: int) -> bool:
    """Whether what looks like a number is part of a word, a decimal fraction or a longer number."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if before[-1:].isalnum() or before[-1:] in ("_", ".", "+") or after[:1].isalnum() or after[:1] == "_":
        return True
    return (before[-1:] == "-" and before[:1].isdigit()) or (after[:1] in (".", "-") and after[1:].isdigit())
