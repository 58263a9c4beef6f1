"""International bank account numbers: country, its length, check digits (ISO 13616, ISO 7064 mod 97-10)."""

from __future__ import annotations

import re
from collections.abc import Iterator

CANDIDATE = re.compile(r"\d{2}(?<=[A-Za-z]{2}\d{2})(?=(?P<rest> ?[A-Za-z0-9]{4}(?: ?[A-Za-z0-9]{1,4}){2,7}))", re.ASCII)
"""Found from the check digits: a digit is found much faster than two letters."""
LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
"""Characters by country, from the IBAN registry."""


def find_ibans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every number. A candidate may run on into the next word, so its length is the country's."""
    for match in CANDIDATE.finditer(text):
        start = match.start() - 2
        country = text[max(0, start) : start + 2].upper()
        if country not in LENGTHS or text[max(0, start - 1) : start].isalnum():
            continue
        end = _end(text[start : match.end("rest")], start)
        if end is not None and not text[end : end + 1].isalnum() and passes_mod_97(text[start:end].replace(" ", "")):
            yield start, end


def _end(candidate: str, start: int) -> int | None:
    """Where the country's number of characters ends; None where there are fewer."""
    length = LENGTHS.get(candidate[:2].upper())
    seen = 0
    for position, character in enumerate(candidate):
        seen += character != " "
        if seen == length:
            return start + position + 1
    return None


def passes_mod_97(iban: str) -> bool:
    """Whether the check digits fit: country and check digits moved to the end, letters as 10 to 35, the rest by 97 is 1.

    >>> passes_mod_97("GB82WEST12345698765432"), passes_mod_97("GB83WEST12345698765432")
    (True, False)
    """
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1
