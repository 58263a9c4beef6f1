"""Payment card numbers: known issuer and length (ISO/IEC 7812), Luhn check digit, usual grouping."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lmpipe.data.pii.digits import continues, matches_in_runs

CONTIGUOUS = r"\d{12,19}"
GROUPED = (
    r"\d{4}(?P<separator>[ -])"
    r"(?:\d{4}(?P=separator)\d{4}(?P=separator)\d{4}(?:(?P=separator)\d{1,3})?|\d{6}(?P=separator)\d{4,5})"
)
NUMBER = re.compile(f"(?:{GROUPED}|{CONTIGUOUS})", re.ASCII)
ISSUERS = (
    (re.compile(r"4"), (13, 16, 19)),  # Visa
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),  # Mastercard
    (re.compile(r"3[47]"), (15,)),  # American Express
    (re.compile(r"30[0-5]|36|38|39"), (14,)),  # Diners Club
    (re.compile(r"6011|64[4-9]|65"), (16, 19)),  # Discover
    (re.compile(r"35(?:2[89]|[3-8])"), (16, 19)),  # JCB
    (re.compile(r"2131|1800"), (15,)),  # JCB, older
    (re.compile(r"62"), (16, 17, 18, 19)),  # UnionPay
    (re.compile(r"50|5[6-8]|6[0-9]"), (12, 13, 14, 15, 16, 17, 18, 19)),  # Maestro
)


def find_credit_cards(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every number."""
    for match in matches_in_runs(NUMBER, text, margin=0):
        digits = re.sub(r"\D", "", match[0])
        round_number = digits.count("0") * 4 > len(digits) * 3
        if not continues(text, *match.span()) and not round_number and has_issuer(digits) and passes_luhn(digits):
            yield match.span()


def passes_luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B).

    >>> passes_luhn("4111111111111111"), passes_luhn("4111111111111112")
    (True, False)
    """
    doubled = "0246813579"
    odd, even = digits[-1::-2], digits[-2::-2]
    return (sum(map(int, odd)) + sum(int(doubled[int(digit)]) for digit in even)) % 10 == 0


def has_issuer(digits: str) -> bool:
    """Whether a network issues numbers that begin and end like this."""
    return any(prefix.match(digits) and len(digits) in lengths for prefix, lengths in ISSUERS)
