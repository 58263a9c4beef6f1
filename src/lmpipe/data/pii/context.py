"""Words near a number that say what it is. A placeholder such as `<US_SSN>` is none: what is masked names nothing again."""

from __future__ import annotations

import re

BEFORE = 48
"""Characters in front of a number in which a word counts."""


def words(*alternatives: str) -> re.Pattern[str]:
    """A pattern for `named`: one of the alternatives as a word of its own, on the number's line or before a colon that ends the
    line above."""
    return re.compile(rf"(?<![<\w])(?:{'|'.join(alternatives)})(?!\w)[^\n]*(?::\s*)?\Z", re.IGNORECASE)


def named(text: str, start: int, word: re.Pattern[str]) -> bool:
    """Whether one of the words stands shortly before `start`."""
    return word.search(text, max(0, start - BEFORE), start) is not None
