"""Times of day, as `HH:MM`. A number alone is no time; one with `am`, `o'clock`, a colon or a part of the day is."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lmpipe.serving.chatbot.entities.numbers import UNITS

_PART = r"(?:\s*(?P<half>[ap])(?:m\b|\.m\.)|\s+(?:in\s+the|at)\s+(?P<part>morning|afternoon|evening|night)\b)"
_CLOCK = re.compile(
    r"(?<![\w:./-])(?:(?P<before>morning|afternoon|evening)\s+)?(?P<hour>\d{1,2}|one|two|three|four|five|six|seven|eight|nine|ten|"
    rf"eleven|twelve)\b(?:[:.](?P<minute>\d{{2}}))?(?P<oclock>\s*o['’\"]?clock\b)?{_PART}?",
    re.IGNORECASE,
)
_PAST = re.compile(
    rf"\b(?P<before>half\s+past|quarter\s+past|quarter\s+to)\s+(?P<hour>\d{{1,2}}|[a-z]+)\b{_PART}?",
    re.IGNORECASE,
)
_NAMED = re.compile(r"\b(?P<name>noon|midday|midnight)\b", re.IGNORECASE)
_HOURS = {word: number for word, number in UNITS.items() if 1 <= number <= 12}
_MINUTES = {"half past": 30, "quarter past": 15, "quarter to": -15}


def find_times(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and `HH:MM` of every time.

    >>> list(find_times("at half past 7 in the evening"))
    [(3, 29, '19:30')]
    """
    for match in _NAMED.finditer(text):
        yield match.start(), match.end(), "00:00" if match["name"].lower() == "midnight" else "12:00"
    for match in _PAST.finditer(text):
        minutes = _MINUTES[re.sub(r"\s+", " ", match["before"].lower())]
        yield from _at(match, minutes, match["part"])
    for match in _CLOCK.finditer(text):
        part = match["part"] or match["before"]
        exact = match["minute"] is not None or match["oclock"] or match["half"] or part
        following = text[match.end() : match.end() + 2]
        if exact and not re.match(r"\w|[:./-]\d", following):
            yield from _at(match, int(match["minute"] or 0), part)


def _at(match: re.Match[str], minutes: int, part: str | None) -> Iterator[tuple[int, int, str]]:
    spelled, half, part = match["hour"].lower(), (match["half"] or "").lower(), (part or "").lower()
    hour = int(spelled) if spelled.isdigit() else _HOURS.get(spelled)
    if hour is None or hour > 24 or minutes > 59 or ((half or part) and hour > 12 and half):
        return
    afternoon = half == "p" or part in ("afternoon", "evening") or (part == "night" and 6 <= hour < 12)
    if afternoon and hour < 12:
        hour += 12
    elif hour == 12 and (half == "a" or part == "night"):
        hour = 0
    total = (hour * 60 + minutes) % (24 * 60)
    yield match.start(), match.end(), f"{total // 60:02d}:{total % 60:02d}"
