"""Check digits of national numbers, each on the characters alone, without separators. The rules' sources stand beside them.

Knows no text and no context: `national_ids.py` finds the candidates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from lmpipe.data.pii.credit_card import passes_luhn

VERHOEFF_PRODUCT = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
VERHOEFF_PERMUTATION = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip
"""Verhoeff 1969, "Error Detecting Decimal Codes": the dihedral group D5 and the powers of one permutation."""
DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
"""By the number modulo 23 (Spain, Real Decreto 1553/2005)."""
ITALIAN_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21,
    2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
), strict=True))  # fmt: skip
"""Values at odd positions (Italy, Decreto Ministeriale 23 December 1976)."""
NINO_NEVER = frozenset({"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"})
SSN_EXAMPLES = frozenset({"078051120", "219099999", "457555462"})
"""Numbers from advertisements: millions of texts hold them, nobody owns them."""


def _weighted(digits: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def is_us_ssn(digits: str) -> bool:
    """Area, group and serial that can have been issued (Social Security Administration, randomization of June 2011).

    >>> is_us_ssn("536907890"), is_us_ssn("666907890"), is_us_ssn("078051120")
    (True, False, False)
    """
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return not (area in ("000", "666") or area[0] == "9" or group == "00" or serial == "0000" or digits in SSN_EXAMPLES)


def is_gb_nhs(digits: str) -> bool:
    """Weights 10 to 2, modulo 11 (NHS Data Dictionary, "NHS NUMBER").

    >>> is_gb_nhs("9434765919"), is_gb_nhs("9434765918")
    (True, False)
    """
    check = -_weighted(digits[:9], range(10, 1, -1)) % 11
    return check == int(digits[9]) and len(set(digits)) > 1


def is_gb_nino(number: str) -> bool:
    """Prefixes that are issued (HMRC, National Insurance Manual NIM39110). There is no check digit."""
    return number[:2] not in NINO_NEVER


def is_de_tax_id(digits: str) -> bool:
    """ISO 7064 mod 11,10; of the first ten digits exactly one stands two or three times, not thrice in a row (BZSt).

    >>> is_de_tax_id("86095742719"), is_de_tax_id("86095742718")
    (True, False)
    """
    repeats = sorted(Counter(digits[:10]).values())[::-1]
    if repeats[0] not in (2, 3) or repeats[1] != 1 or any(digit * 3 in digits[:10] for digit in set(digits)):
        return False
    product = 10
    for digit in digits[:10]:
        product = (int(digit) + product) % 10 or 10
        product = product * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def is_fr_nir(number: str) -> bool:
    """Key = 97 - (number mod 97), Corsica's 2A and 2B as 19 and 18 (INSEE, "Numéro de sécurité sociale").

    >>> is_fr_nir("255081416802538"), is_fr_nir("255081416802539")
    (True, False)
    """
    digits = number.upper().replace("2A", "19").replace("2B", "18")
    return digits.isdigit() and 97 - int(digits[:13]) % 97 == int(digits[13:])


def is_es_dni(number: str) -> bool:
    """The letter by the number modulo 23.

    >>> is_es_dni("12345678Z"), is_es_dni("12345678A")
    (True, False)
    """
    return DNI_LETTERS[int(number[:8]) % 23] == number[8].upper()


def is_es_nie(number: str) -> bool:
    """As the DNI, with X, Y, Z as 0, 1, 2 (Spain, Orden INT/2058/2008).

    >>> is_es_nie("X1234567L"), is_es_nie("X1234567A")
    (True, False)
    """
    return is_es_dni(str("XYZ".index(number[0].upper())) + number[1:])


def is_it_fiscal_code(code: str) -> bool:
    """The last letter from the values of the others: at even positions their own, at odd ones by a table.

    >>> is_it_fiscal_code("RSSMRA85T10A562S"), is_it_fiscal_code("RSSMRA85T10A562T")
    (True, False)
    """
    code = code.upper()
    odd = sum(ITALIAN_ODD[character] for character in code[0:15:2])
    even = sum(int(character) if character.isdigit() else ord(character) - ord("A") for character in code[1:15:2])
    return chr(ord("A") + (odd + even) % 26) == code[15]


def is_nl_bsn(digits: str) -> bool:
    """The eleven test with weights 9 to 2 and -1 (Logisch Ontwerp BSN).

    >>> is_nl_bsn("111222333"), is_nl_bsn("111222334")
    (True, False)
    """
    return int(digits) > 0 and _weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def is_br_cpf(digits: str) -> bool:
    """Two check digits modulo 11 (Receita Federal, Instrução Normativa 1548/2015).

    >>> is_br_cpf("52998224725"), is_br_cpf("52998224724")
    (True, False)
    """
    if len(set(digits)) == 1:
        return False
    checks = [_weighted(digits[:count], range(count + 1, 1, -1)) * 10 % 11 % 10 for count in (9, 10)]
    return digits[9:] == "".join(map(str, checks))


def is_pl_pesel(digits: str) -> bool:
    """Weights 1, 3, 7, 9; a date of birth in front, its century in the month (Ustawa o ewidencji ludności, art. 15).

    >>> is_pl_pesel("44051401359"), is_pl_pesel("44051401358")
    (True, False)
    """
    month = int(digits[2:4]) % 20
    check = -_weighted(digits[:10], (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10
    return is_day(month, int(digits[4:6])) and check == int(digits[10])


def is_se_personnummer(digits: str) -> bool:
    """Luhn on the last ten digits; a date in front, its day plus 60 in a coordination number (Skatteverket, SKV 704).

    >>> is_se_personnummer("8112189876"), is_se_personnummer("198112189876"), is_se_personnummer("8112189875")
    (True, True, False)
    """
    digits = digits[-10:]
    day = int(digits[4:6])
    return is_day(int(digits[2:4]), day - 60 if day > 60 else day) and passes_luhn(digits)


def is_in_aadhaar(digits: str) -> bool:
    """Verhoeff's check digit; never begins with 0 or 1 (UIDAI).

    >>> is_in_aadhaar("234123412346"), is_in_aadhaar("234123412345")
    (True, False)
    """
    check = "0"
    for position, digit in enumerate(reversed(digits)):
        permuted = VERHOEFF_PERMUTATION[position % 8][int(digit)]
        check = VERHOEFF_PRODUCT[int(check)][int(permuted)]
    return check == "0" and digits[0] not in "01" and digits != 3 * digits[:4]


def is_day(month: int, day: int) -> bool:
    """Whether some year has this day."""
    return 1 <= month <= 12 and 1 <= day <= (29 if month == 2 else 30 if month in (4, 6, 9, 11) else 31)


def runs_on(digits: str) -> bool:
    """Whether the digits only count up: 123456789, an example in every manual."""
    return all((int(b) - int(a)) % 10 == 1 for a, b in pairwise(re.sub(r"\D", "", digits)))
