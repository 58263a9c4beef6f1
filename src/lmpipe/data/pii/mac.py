"""Hardware addresses of network cards: six pairs of hexadecimal digits, or three groups of four (IEEE 802)."""

from __future__ import annotations

import re
from collections.abc import Iterator

PAIRS_REST = re.compile(r"([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2}){4}(?![0-9A-Za-z_])(?!\1[0-9A-Fa-f])")
GROUPS_REST = re.compile(r"\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}(?![0-9A-Za-z_])(?!\.\w)")
"""Both from the first separator on: it is rarer than the letters a to f."""
NOBODY = frozenset({"000000000000", "ffffffffffff", "001122334455", "010203040506", "aabbccddeeff", "112233445566"})
"""Nothing, everybody, and the examples of manuals."""


def find_macs(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every address."""
    if text.count(":") >= 5 or text.count("-") >= 5:
        for match in PAIRS_REST.finditer(text):
            yield from _whole(text, match, 2)
    for match in GROUPS_REST.finditer(text):
        yield from _whole(text, match, 4)


def _whole(text: str, match: re.Match[str], width: int) -> Iterator[tuple[int, int]]:
    start, end = match.start() - width, match.end()
    if start < 0 or not re.fullmatch("[0-9A-Fa-f]+", text[start : match.start()]):
        return
    before = text[max(0, start - 1) : start]
    bare = re.sub("[^0-9a-f]", "", text[start:end].lower())
    if not (before.isalnum() or before in ("_", ":", "-", ".")) and bare not in NOBODY and not bare.isdigit():
        yield start, end
