"""E-mail addresses: found from their @ sign, so that long runs of letters cost nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

DOMAIN = re.compile(r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])")
LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$")
LONGEST_LOCAL = 64
"""RFC 5321, section 4.5.3.1.1."""
NEVER_FIRST = "'`{|}*/=?&#$%^!~"
"""Allowed by RFC 5322 and in practice a quote, a delimiter or a query before the address."""


def find_emails(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every address."""
    for match in DOMAIN.finditer(text):
        start = max(0, match.start() - LONGEST_LOCAL)
        local = LOCAL.search(text, start, match.start())
        if local is None:
            continue
        name = local[0].lstrip(NEVER_FIRST)
        name = re.split(r"[=?&|]", name)[-1]
        if name and name[0] != ".":
            yield match.start() - len(name), match.end()
