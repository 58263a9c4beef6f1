"""Numbers in digits, and English ones in words."""

from __future__ import annotations

import re
from collections.abc import Iterator

DIGITS = {
    ".": re.compile(r"(?<![\w.,])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]|[.,]\d)"),
    ",": re.compile(r"(?<![\w.,])[-+]?(?:\d{1,3}(?:\.\d{3})+|\d+)(?:,\d+)?(?![\w]|[.,]\d)"),
}
_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
UNITS = {word: number for number, word in enumerate(_SMALL)} | {word: 10 * number for number, word in enumerate(_TENS, 2)}
SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_WORD = "|".join([*SCALES, *sorted(UNITS, key=len, reverse=True)])
IN_WORDS = re.compile(rf"\b(?:{_WORD})(?:(?:\s+and\s+|\s+|-)(?:{_WORD}))*\b", re.IGNORECASE)


def find_numbers(text: str, *, words: bool, whole: bool, decimal: str) -> Iterator[tuple[int, int, int | float]]:
    """Start, end and value of every number.

    >>> list(find_numbers("two of 1,200.5", words=True, whole=False, decimal="."))
    [(7, 14, 1200.5), (0, 3, 2)]
    """
    for match in DIGITS[decimal].finditer(text):
        digits = match[0].replace("," if decimal == "." else ".", "").replace(",", ".")
        value = float(digits)
        if value.is_integer() and abs(value) < 2**53:
            yield match.start(), match.end(), int(value)
        elif not whole:
            yield match.start(), match.end(), value
    for match in IN_WORDS.finditer(text) if words else ():
        number = in_words(match[0])
        if number is not None:
            yield match.start(), match.end(), number


def in_words(text: str) -> int | None:
    """The number that English words say; none where they say no single number.

    >>> in_words("two hundred and forty-five"), in_words("two three")
    (245, None)
    """
    total = group = 0
    last = 10**9  # what may follow must be smaller: "two three" and "twenty thirty" are two numbers
    for word in re.split(r"[\s-]+", text.lower()):
        if word == "and":
            continue
        if word in SCALES:
            scale = SCALES[word]
            if scale == 100:
                if group >= 100:
                    return None
                group, last = max(group, 1) * 100, 100
            else:
                total, group, last = total + max(group, 1) * scale, 0, 10**9
        else:
            number = UNITS[word]
            size = 100 if number >= 20 else 10
            if last <= 10 or (last <= 99 and number >= 10):
                return None
            group, last = group + number, 10 if size == 10 else 99
    return total + group
