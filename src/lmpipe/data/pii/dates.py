"""Calendar dates, and among them dates of birth: a day that exists, in a form that is written, behind a word such as `born`.

Forms: 2018-01-14 (with a time), 7/14/1995, 14.7.1995, 14-07-1995, July 14, 1995, 14 July 1995 (English, German, French,
Spanish, Italian, Portuguese and Dutch names). A year or a weekday alone names no day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from lmpipe.data.pii.checksums import is_day
from lmpipe.data.pii.context import words

TIME = r"(?:[T ][0-2]\d:[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
CANDIDATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}", re.ASCII)
NUMERIC = re.compile(
    rf"(?:(?P<year>1[89]\d\d|20\d\d)(?P<a>[-/.])(?P<month>[01]?\d)(?P=a)(?P<day>[0-3]?\d)(?!\d){TIME}"
    r"|(?P<first>[0-3]?\d)(?P<b>[-/.])(?P<second>[0-3]?\d)(?P=b)(?:1[89]\d\d|20\d\d)(?!\d))",
    re.ASCII,
)
YEAR = re.compile(r"(?:1[89]|20)\d\d(?!\w)", re.ASCII)
"""Dates with a month's name are found from their year: digits are rare, words are not."""
MONTH = (
    "(?:jan|feb|fév|fev|mar|mär|maa|apr|avr|abr|may|mai|mei|mag|jun|jui|giu|jul|lug|aug|aoû|ago|sep|set|oct|okt|out|ott|nov|dec|dez"
    "|déc|dic|ene|gen)[a-zçéû]{0,7}\\.?"
)
"""By their first letters: what stands between a day and a year and begins like a month is one."""
NAMED_BEFORE_YEAR = re.compile(
    rf"(?<![\w.])(?:(?P<day>[0-3]?\d)(?:st|nd|rd|th|\.|er|º)?\s+(?:de\s+|of\s+)?{MONTH},?\s+(?:de\s+)?"
    rf"|{MONTH}\s+(?P<late>[0-3]?\d)(?:st|nd|rd|th)?,?\s+)$",
    re.IGNORECASE,
)
LONGEST_DAY_AND_MONTH = 32
BIRTH = words(
    "date of birth", r"birth[- ]?da(?:y|te)", r"d\.?o\.?b\.?", "born", "geboren", r"geb\.", "geburts(?:datum|tag)", "née?",
    "naissance", "nacid[oa]", "nacimiento", "nascid[oa]", "nascimento", "nat[oa]", "nascita", "geboortedatum",
)  # fmt: skip
BIRTH_BEFORE = 40


def find_dates(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every date."""
    yield from _dates(text)


def find_birth_dates(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every date behind a word that speaks of birth, in the same sentence or line."""
    for start, end in _dates(text):
        before = text[max(0, start - BIRTH_BEFORE) : start]
        if BIRTH.search(re.split(r"[.!?]\s+(?=[A-Z]|\Z)|\n\n", before)[-1] if "geb" not in before else before):
            yield start, end


@lru_cache(maxsize=1)
def _dates(text: str) -> tuple[tuple[int, int], ...]:
    """Remembered for the text at hand: two finders ask."""
    candidates = (NUMERIC.match(text, candidate.start()) for candidate in CANDIDATE.finditer(text))
    numeric = [match.span() for match in candidates if match and _is_numeric_date(text, match)]
    return tuple(numeric + list(_named_dates(text)))


def _is_numeric_date(text: str, match: re.Match[str]) -> bool:
    before, after = text[max(0, match.start() - 1) : match.start()], text[match.end() : match.end() + 2]
    if (
        before.isalnum()
        or before in ("/", "-", ".", "_")
        or after[:1].isalpha()
        or (after[:1] in "-/." and after[1:].isdigit())
    ):
        return False
    if match["year"]:
        return is_day(int(match["month"]), int(match["day"]))
    first, second = int(match["first"]), int(match["second"])
    return is_day(first, second) or is_day(second, first)


def _named_dates(text: str) -> Iterator[tuple[int, int]]:
    for year in YEAR.finditer(text):
        start = max(0, year.start() - LONGEST_DAY_AND_MONTH)
        found = NAMED_BEFORE_YEAR.search(text, start, year.start())
        if found and 1 <= int(found["day"] or found["late"]) <= 31:
            yield found.start(), year.end()
