"""Telephone numbers: international form, national groupings that little else has, any run of digits beside a telling word."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lmpipe.data.pii.digits import matches_in_runs

EXTENSION = r"(?: ?(?:x|ext\.?) ?\d{1,5})?"
SHAPES = (
    r"\+[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}",  # +46 (0)8 928 571 38, +447700 921 916
    r"001[ .-]\d{3}[ .-]\d{3}[ .-]\d{4}",  # 001-518-640-0854
    r"\([2-9]\d{2}\) ?[2-9]\d{2}[ .-]\d{4}",  # (579)888-3058
    r"(?:1-)?[2-9]\d{2}-[2-9]\d{2}-\d{4}",  # 905-674-3793: North American areas and exchanges begin with 2 to 9
    r"[2-9]\d{2}\.[2-9]\d{2}\.\d{4}",  # 259.735.7502
    r"0[1-9](?P<pair>[ .])\d{2}(?P=pair)\d{2}(?P=pair)\d{2}(?P=pair)\d{2}",  # 03.93.92.16.85
    r"0[1-9]\d{1,3} \d{2} \d{2} \d{2}",  # 0490 75 40 81
    r"0[1-9]\d{1,4}[ -]\d{3,4}[ -]\d{2,4}(?: \d{2})?",  # 07700 063 966, 0688 872 49 99
    r"\(0[1-9]\d{0,3}\) ?\d{3,4}[ -]\d{3,5}",  # (08) 8747 6301
)
NUMBER = re.compile(f"(?:{'|'.join(SHAPES)}){EXTENSION}", re.ASCII)
RUN = re.compile(rf"\(?\d[\d().\- ]{{5,16}}\d{EXTENSION}", re.ASCII)
DECIMAL = re.compile(r"\+?\d+\.\d+", re.ASCII)
MARGIN = 2
"""Characters before the first digit that may belong to a number: `+`, `(`."""
WORD_BEFORE = re.compile(
    r"(?<![<\w])(?:phone|telephone|tel|mobile|cell|fax|desk|whatsapp|call(?: me)?(?: on| at)?|answering at|messages to"
    r"|telefon|rufnummer|telefonnummer|handy|mobil|tél|téléphone|portable|tel[eé]fono|móvil|celular|cellulare|telefone|tlf|fono"
    r"|телефон|тел|電話|电话)"
    r"(?: (?:number|no|nr))?[\s.:：#(]*$",
    re.IGNORECASE,
)
WORD_AFTER = re.compile(r"[ -]{0,3}(?:office|fax|mobile|phone|cell)\b", re.IGNORECASE)
CONTEXT = 28
FEWEST_DIGITS, MOST_DIGITS = 7, 15
"""ITU-T E.164 allows 15; a shorter number than 7 digits is a short code."""
DATE = re.compile(r"(?:19|20)\d{2}[-. ](?:0\d|1[0-2])[-. ][0-3]\d|[0-3]?\d[-. ][0-1]?\d[-. ](?:19|20)\d{2}")


def find_phones(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every number; spans may overlap."""
    for match in matches_in_runs(NUMBER, text, MARGIN):
        if _is_number(text, match):
            yield match.span()
    for match in matches_in_runs(RUN, text, MARGIN):
        if _is_named(text, match) and _is_number(text, match):
            unclosed = match[0].startswith("(") and ")" not in match[0]
            yield match.start() + unclosed, match.end()


def _is_number(text: str, match: re.Match[str]) -> bool:
    start, end = match.span()
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if before[-1:].isalnum() or before[-1:] in tuple("_.=#/%$&") or after[:1].isalnum() or after[:1] in ("_", "%"):
        return False
    if (before[-1:] in ("-", " ") and before[:1].isdigit()) or (after[:1] in tuple("-. /") and after[1:].isdigit()):
        return False  # the middle of a longer run of digits: a table, a dump, an identifier
    digits = sum(character.isdigit() for character in re.split("[xe]", match[0])[0])
    return FEWEST_DIGITS <= digits <= MOST_DIGITS and not DATE.match(match[0]) and not DECIMAL.fullmatch(match[0])


def _is_named(text: str, match: re.Match[str]) -> bool:
    before = text[max(0, match.start() - CONTEXT) : match.start()]
    return bool(WORD_BEFORE.search(before) or WORD_AFTER.match(text, match.end()))
