"""Where a text has enough digits beside each other for a number that matters: what is expensive is done only there."""

from __future__ import annotations

import re
from collections.abc import Iterator

RUN = re.compile(r"\d[\d().\- ]{5,}", re.ASCII)
LONGEST_TAIL = 8
"""Characters behind a run that may belong to a number: an extension such as ` ext. 123`."""


def matches_in_runs(pattern: re.Pattern[str], text: str, margin: int) -> Iterator[re.Match[str]]:
    """Matches of `pattern` that begin in, or `margin` characters before, a run of at least six digits and separators."""
    for run in RUN.finditer(text):
        yield from pattern.finditer(text, max(0, run.start() - margin), run.end() + LONGEST_TAIL)
