"""National numbers of persons: a table of written forms, check digits and telling words.

A number counts when its check digits fit (where it has any) and either its written form says what it is (`123-45-6789`,
`529.982.247-25`) or a word before it does. Does not know whether a number was issued to anybody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lmpipe.data.pii import checksums
from lmpipe.data.pii.config import Entity
from lmpipe.data.pii.context import named, words
from lmpipe.data.pii.digits import LONGEST_TAIL, continues, matches_in_runs


@dataclass(frozen=True)
class NationalId:
    """One country's number."""

    pattern: str
    """How it may be written. Digits stand in a run of six and more, at most `margin` characters behind the beginning."""
    is_valid: Callable[[str], bool]
    """Asked of the letters and digits alone."""
    words: re.Pattern[str]
    """Say what a bare number is."""
    telling: str | None = None
    """Written forms that need no word; None: all need one."""
    margin: int = 0
    tail: int = LONGEST_TAIL
    """Characters that may follow the first run of digits."""


NATIONAL_IDS: dict[Entity, NationalId] = {
    "us_ssn": NationalId(
        r"\d{3}[- ]?\d{2}[- ]?\d{4}",
        checksums.is_us_ssn,
        words("ssn", r"ss ?#", "social security(?: number| no| card)?"),
        telling=r"\d{3}-\d{2}-\d{4}",
    ),
    "gb_nhs": NationalId(
        r"\d{3}[- ]?\d{3}[- ]?\d{4}",
        checksums.is_gb_nhs,
        words("nhs", "national health"),
    ),
    "gb_nino": NationalId(
        r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]",
        checksums.is_gb_nino,
        words("nino", "national insurance", r"ni (?:number|no)"),
        telling=r"[A-Z]{2}(?: \d{2} \d{2} \d{2} |\d{6} ?)[A-D]",
        margin=3,
    ),
    "de_tax_id": NationalId(
        r"[1-9]\d ?\d{3} ?\d{3} ?\d{3}",
        checksums.is_de_tax_id,
        words(r"steuer\S*", r"id-?nr\.?", r"idnr\.?", "tin", "tax (?:id|identification)"),
    ),
    "fr_nir": NationalId(
        r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-4]\d|[5-9]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}",
        checksums.is_fr_nir,
        words("nir", r"s[ée]curit[ée] sociale", r"num[ée]ro s[ée]cu", "insee"),
        telling=r"[12]( ?)\d{2}\1\d{2}\1(?:\d{2}|2[AB])\1\d{3}\1\d{3} ?\d{2}",
        margin=4,
        tail=16,  # Corsica's letter ends the first run
    ),
    "es_dni": NationalId(
        r"\d{8}[ -]?[A-Za-z]",
        checksums.is_es_dni,
        words("dni", "nif", "documento nacional"),
        telling=r"\d{8}-?[A-Z]",
    ),
    "es_nie": NationalId(
        r"[XYZxyz][ -]?\d{7}[ -]?[A-Za-z]",
        checksums.is_es_nie,
        words("nie", "nif", "extranjero"),
        telling=r"[XYZ]-?\d{7}-?[A-Z]",
        margin=2,
    ),
    "nl_bsn": NationalId(
        r"\d{4}[. ]?\d{2}[. ]?\d{3}",
        checksums.is_nl_bsn,
        words("bsn", r"burgerservice\s?nummer", r"sofi\s?nummer"),
    ),
    "br_cpf": NationalId(
        r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}",
        checksums.is_br_cpf,
        words("cpf", r"pessoas? f[íi]sicas?"),
        telling=r"\d{3}\.\d{3}\.\d{3}-\d{2}",
    ),
    "pl_pesel": NationalId(
        r"\d{11}",
        checksums.is_pl_pesel,
        words("pesel"),
    ),
    "se_personnummer": NationalId(
        r"(?:\d{2})?\d{6}[-+]?\d{4}",
        checksums.is_se_personnummer,
        words(r"person(?:nummer|nr)", "samordningsnummer"),
        telling=r"(?:19|20)?\d{6}[-+]\d{4}",
    ),
    "in_aadhaar": NationalId(
        r"[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}",
        checksums.is_in_aadhaar,
        words(r"aa?dhaa?r\S*", "uidai", "uid"),
        telling=r"\d{4} \d{4} \d{4}",
    ),
}
COMPILED = {
    kind: (re.compile(entry.pattern, re.ASCII), re.compile(entry.telling or r"(?!)", re.ASCII))
    for kind, entry in NATIONAL_IDS.items()
}
ITALIAN = re.compile(r"[A-Z]{6}[0-9LMNPQRSTUV]{2}[ABCDEHLMPRST][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z](?!\w)", re.ASCII)
"""Letters stand for digits where two people would share a code (D.M. 1976, art. 6)."""
LICENCE = re.compile(r"(?<!\w)driv(?:er'?s?|er’s|ing) licen[cs]e(?: (?:number|no\.?|num|#))?(?: is)?[:#\s]{1,3}", re.IGNORECASE)
LICENCE_NUMBER = re.compile(r"(?=[A-Z-]{0,5}\d)[A-Z0-9](?:[A-Z0-9]|-(?=[A-Z0-9])){5,18}(?!\w)", re.IGNORECASE)
LICENCE_WORD = "licen"


def find_national_ids(text: str, kind: Entity) -> Iterator[tuple[int, int]]:
    """Start and end of every number of one kind."""
    entry = NATIONAL_IDS[kind]
    pattern, telling = COMPILED[kind]
    for match in matches_in_runs(pattern, text, entry.margin, entry.tail):
        start, end = match.span()
        bare = re.sub(r"[^0-9A-Za-z]", "", match[0])
        if continues(text, start, end) or (bare.isdigit() and checksums.runs_on(bare)) or not entry.is_valid(bare):
            continue
        if telling.fullmatch(match[0]) or named(text, start, entry.words):
            yield start, end


def find_it_fiscal_codes(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every codice fiscale: sixteen characters without a run of digits."""
    for match in ITALIAN.finditer(text):
        if not continues(text, *match.span()) and checksums.is_it_fiscal_code(match[0]):
            yield match.span()


def find_driver_licences(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every number that directly follows the words; states and countries share no form."""
    if LICENCE_WORD not in text and LICENCE_WORD.upper() not in text:
        return
    for words_before in LICENCE.finditer(text):
        number = LICENCE_NUMBER.match(text, words_before.end())
        if number:
            yield number.span()
