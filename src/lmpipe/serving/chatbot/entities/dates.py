"""Days: in digits, with English month names, and relative to today in English.

A day without a year is the next one that is not past. `friday` is the next Friday after today, `this friday` may be today,
`next friday` is the Friday of the week after this one (weeks begin on Monday). What is no day (31/2) is not found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import partial

MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKDAY = "|".join(WEEKDAYS)
_MONTH = "|".join(f"{month}|{month[:3]}" for month in MONTHS) + "|sept"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_COUNTS = {"a": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
Found = tuple[int, int, date]


def find_dates(text: str, today: date, *, day_first: bool) -> Iterator[Found]:
    """Start, end and day of every day, longer readings before shorter ones.

    >>> list(find_dates("on March 5th", date(2026, 3, 2), day_first=True))
    [(3, 12, datetime.date(2026, 3, 5))]
    """
    for pattern, read in _READERS:
        for match in pattern.finditer(text):
            found = read(match, today, day_first)
            if found is not None:
                yield match.start(), match.end(), found


def _day(year: str | None, month: int, day: int, today: date) -> date | None:
    try:
        if year:
            return date(int(year) if len(year) == 4 else 2000 + int(year), month, day)
        this = date(today.year, month, day)
        return this if this >= today else date(today.year + 1, month, day)
    except ValueError:
        return None


def _iso(match: re.Match[str], today: date, day_first: bool) -> date | None:
    return _day(match[1], int(match[2]), int(match[3]), today)


def _digits(match: re.Match[str], today: date, day_first: bool) -> date | None:
    first, second = int(match[1]), int(match[3])
    day, month = (first, second) if day_first else (second, first)
    return _day(match[4], month, day, today)


def _named(match: re.Match[str], today: date, day_first: bool) -> date | None:
    month = next(number for number, name in enumerate(MONTHS, 1) if name.startswith(match["month"].lower()[:3]))
    return _day(match["year"], month, int(match["day"]), today)


def _of_this_month(match: re.Match[str], today: date, day_first: bool) -> date | None:
    """`the 8th`: the next day of that number."""
    day, month = int(match["day"]), today.replace(day=1)
    for _ in range(12):
        try:
            found = month.replace(day=day)
        except ValueError:
            if day > 31 or day < 1:
                return None
        else:
            if found >= today:
                return found
        month = (month + timedelta(days=32)).replace(day=1)
    return None


def _weekday(match: re.Match[str], today: date, day_first: bool) -> date:
    wanted = next(number for number, name in enumerate(WEEKDAYS) if name.startswith(match["weekday"].lower()[:3]))
    which = (match["which"] or "").lower()
    if which == "next":
        return today - timedelta(days=today.weekday()) + timedelta(days=7 + wanted)
    ahead = (wanted - today.weekday()) % 7
    return today + timedelta(days=ahead if ahead or which == "this" else 7)


def _shifted(match: re.Match[str], today: date, day_first: bool) -> date | None:
    count = match["count"].lower()
    number = _COUNTS.get(count) or int(count)
    try:
        return today + timedelta(days=number * (7 if match["unit"].lower().startswith("week") else 1))
    except OverflowError:
        return None


def _fixed(days: int, match: re.Match[str], today: date, day_first: bool) -> date:
    return today + timedelta(days=days)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


_READERS: list[tuple[re.Pattern[str], Callable[[re.Match[str], date, bool], date | None]]] = [
    (_pattern(r"(?<![\w-])(\d{4})-(\d{1,2})-(\d{1,2})(?![\w-])"), _iso),
    (_pattern(r"(?<![\w./-])(\d{1,2})([.-])(\d{1,2})\2(\d{4}|\d{2})(?![\w/-]|\.\d)"), _digits),
    (_pattern(r"(?<![\w./-])(\d{1,2})(/)(\d{1,2})(?:/(\d{4}|\d{2}))?(?![\w/-]|\.\d)"), _digits),
    (_pattern(rf"\b(?P<month>{_MONTH})\.?\s+(?:the\s+)?{_DAY}(?:,?\s+(?P<year>\d{{4}}))?(?!\w|:\d)"), _named),
    (_pattern(rf"(?<![\w:]){_DAY}\s+(?:of\s+)?(?P<month>{_MONTH})\b(?:\.?,?\s+(?P<year>\d{{4}}))?(?!\w)"), _named),
    (_pattern(r"(?<!\w)(?P<day>\d{1,2})(?:st|nd|rd|th)\s+of\s+this\s+month\b"), _of_this_month),
    (_pattern(r"\bthe\s+(?P<day>\d{1,2})(?:st|nd|rd|th)\b(?!\s+(?:of|floor|street|avenue))"), _of_this_month),
    (_pattern(rf"\b(?P<weekday>{_WEEKDAY})\s+(?P<which>this|next)\s+week\b"), _weekday),
    (_pattern(rf"\b(?:(?P<which>this|next)\s+)?(?P<weekday>{_WEEKDAY})\b"), _weekday),
    (_pattern(r"\bin\s+(?P<count>\d{1,4}|" + "|".join(_COUNTS) + r")\s+(?P<unit>days?|weeks?)\b"), _shifted),
    (_pattern(r"\bday after tomorrow\b"), partial(_fixed, 2)),
    (_pattern(r"\b(?:(?:later )?today|tonight|this (?:morning|afternoon|evening))\b"), partial(_fixed, 0)),
    (_pattern(r"\btomorrow\b"), partial(_fixed, 1)),
    (_pattern(r"\byesterday\b"), partial(_fixed, -1)),
]
