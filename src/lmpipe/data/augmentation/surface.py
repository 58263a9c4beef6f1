"""Upper and lower case, and punctuation: what changes on the surface of a text while its words stay."""

from __future__ import annotations

import re
import unicodedata
from random import Random

WORD = re.compile(r"\S+")
FIRST_LETTER = re.compile(r"(?<!\w)(?<!\w['’])[^\W\d_]")
MARKS = ".;?:!,"
"""Those of AEDA (Karimi et al. 2021, arXiv 2108.13230, section 3)."""


def recase(text: str, style: str) -> str:
    """All lower, all upper, or every word with a capital.

    >>> recase("don't stop", "title")
    "Don't Stop"
    """
    if style == "title":
        return FIRST_LETTER.sub(lambda found: found[0].upper(), text)
    return text.upper() if style == "upper" else text.lower()


def without_punctuation(text: str) -> str:
    """`text` without characters of the Unicode categories P*; symbols such as `+` and `$` stay.

    >>> without_punctuation("Well, that's $5 (or so)!")
    'Well thats $5 or so'
    """
    marks = [character for character in set(text) if unicodedata.category(character)[0] == "P"]
    return text.translate(dict.fromkeys(map(ord, marks)))


def with_punctuation(text: str, stream: Random) -> str:
    """`text` with marks before some of its words: as many as a number drawn from 1 to a third of the words, line by line."""
    return "".join(_marked(line, stream) for line in text.splitlines(keepends=True))


def _marked(line: str, stream: Random) -> str:
    words = list(WORD.finditer(line))
    if not words:
        return line
    count = stream.randint(1, max(1, len(words) // 3))
    starts = sorted(words[number].start() for number in stream.sample(range(len(words)), count))
    parts, done = [], 0
    for start in starts:
        parts += [line[done:start], stream.choice(MARKS), " "]
        done = start
    return "".join([*parts, line[done:]])
