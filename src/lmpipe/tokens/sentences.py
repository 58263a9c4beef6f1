"""Where sentences end: by marks, capitals and a list of abbreviations; no model. For cutting long texts and for extracts."""

from __future__ import annotations

import re

_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9\u00c0-\u00de])|(?<=[。！？])|\s*\n\s*\n\s*")
_ABBREVIATED = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|cf|al|Fig|Figs|Eq|Eqs|Sec|No|Nos|Inc|Ltd|Co|approx|resp|Jan|Feb|Mar"
    r"|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)|\b[A-Z])\.$"
)
"""Before a border that is none."""


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, in order, without the white space around them.

    >>> split_sentences("Dr. Ada met 3 people. Who? Nobody knows.")
    ['Dr. Ada met 3 people.', 'Who?', 'Nobody knows.']
    """
    found: list[str] = []
    start = 0
    for border in _END.finditer(text):
        if "\n" not in border[0] and _ABBREVIATED.search(text, start, border.start()):
            continue
        found.append(text[start : border.end()].strip())
        start = border.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]
