"""Personal data and secrets in a text, as spans that do not overlap.

Finds what follows a pattern, and proves it where a check digit, a known prefix or a country's length allows. Names, addresses
and anything spelled unusually are not found. Fast because most text is skipped: nearly all kinds hold digits, so only what
stands near digits is searched.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from lmpipe.data.pii.api_key import find_api_keys
from lmpipe.data.pii.config import Entity
from lmpipe.data.pii.credit_card import find_credit_cards
from lmpipe.data.pii.crypto import find_crypto_wallets
from lmpipe.data.pii.dates import find_birth_dates, find_dates
from lmpipe.data.pii.digits import has_run, windows
from lmpipe.data.pii.email import find_emails
from lmpipe.data.pii.iban import find_ibans
from lmpipe.data.pii.ip import find_ips
from lmpipe.data.pii.mac import find_macs
from lmpipe.data.pii.national_ids import NATIONAL_IDS, find_driver_licences, find_it_fiscal_codes, find_national_ids
from lmpipe.data.pii.phone import find_phones
from lmpipe.data.pii.url import find_url_credentials, find_urls


class Span(NamedTuple):
    """Something found: `text[start:end]` is a `kind`."""

    start: int
    end: int
    kind: Entity


FINDERS: dict[Entity, Callable[[str], Iterator[tuple[int, int]]]] = {
    "api_key": find_api_keys,
    "url_credentials": find_url_credentials,
    "crypto_wallet": find_crypto_wallets,
    "iban": find_ibans,
    "credit_card": find_credit_cards,
    "email": find_emails,
    "url": find_urls,
    "mac": find_macs,
    "ip": lambda text: find_ips(text, public_only=False),
    "it_fiscal_code": find_it_fiscal_codes,
    **{kind: partial(find_national_ids, kind=kind) for kind in NATIONAL_IDS},
    "driver_licence": find_driver_licences,
    "date_of_birth": find_birth_dates,
    "date": find_dates,
    "phone": find_phones,
}
"""In order of certainty: of two that overlap, the earlier kind stays."""
ORDER: dict[str, int] = {kind: number for number, kind in enumerate(FINDERS)}
ANYWHERE = frozenset({"api_key", "url_credentials", "email", "url"})
"""Kinds that need no digit."""
NEAR_DIGITS = FINDERS.keys() - ANYWHERE
"""All others are looked for near digits alone, of which most text has few."""
IN_RUNS = frozenset({"credit_card", "phone", *NATIONAL_IDS})
"""Kinds that need at least six digits and separators in a row."""


def find(text: str, entities: Collection[Entity], *, public_ips_only: bool = True) -> list[Span]:
    """What of `entities` stands in `text`, in order, without overlaps.

    Args:
        text: to be searched.
        entities: kinds that are looked for; those that follow no pattern (`person`, `address`) are passed over.
        public_ips_only: leave out IP addresses that name no machine on the internet.

    >>> find("mail me@example.org", ["email"])
    [Span(start=5, end=19, kind='email')]
    """
    found: dict[Entity, list[Span]] = {}
    _search(text, 0, [kind for kind in entities if kind in ANYWHERE], public_ips_only, found)
    near_digits = [kind for kind in entities if kind in NEAR_DIGITS]
    if near_digits:
        without_runs = [kind for kind in near_digits if kind not in IN_RUNS]
        for start, window in windows(text):
            _search(window, start, near_digits if has_run(window) else without_runs, public_ips_only, found)
    if not found:
        return []
    taken: list[Span] = []
    for kind in sorted(found, key=ORDER.__getitem__):
        taken = joined(taken, _longest_first(found[kind]))
    return taken


def joined(taken: Sequence[Span], more: Iterable[Span]) -> list[Span]:
    """Spans in order, with those of `more` that overlap none of `taken`."""
    return sorted([*taken, *(span for span in more if not _overlaps(span, taken))])


def _search(text: str, offset: int, kinds: Sequence[Entity], public_ips_only: bool, found: dict[Entity, list[Span]]) -> None:
    """Add what of `kinds` stands in one stretch of the text, which begins at `offset`."""
    for kind in kinds:
        spans = find_ips(text, public_only=True) if kind == "ip" and public_ips_only else FINDERS[kind](text)
        for start, end in spans:
            found.setdefault(kind, []).append(Span(offset + start, offset + end, kind))


def _longest_first(spans: Sequence[Span]) -> list[Span]:
    """Spans of one kind, overlaps resolved in favour of the longer one."""
    kept: list[Span] = []
    for span in sorted(spans):
        if kept and span.start < kept[-1].end:
            if span.end - span.start > kept[-1].end - kept[-1].start:
                kept[-1] = span
        else:
            kept.append(span)
    return kept


def _overlaps(span: Span, others: Sequence[Span]) -> bool:
    """Whether a span overlaps one of `others`, which are in order and do not overlap each other."""
    after = bisect_left(others, (span.start,))
    return (after > 0 and others[after - 1].end > span.start) or (after < len(others) and others[after].start < span.end)
