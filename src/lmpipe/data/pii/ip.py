"""IP addresses, versions 4 and 6, told from version numbers, times and scopes of source code."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

VERSION_4_REST = re.compile(r"\.\d{1,3}\.\d{1,3}\.\d{1,3}", re.ASCII)
"""From the first point: a literal is found many times faster than a digit."""
FIRST_NUMBER = re.compile(r"\d{1,3}$", re.ASCII)
VERSION_6_PUBLIC = re.compile(r"[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{1,4}:){0,6}(?::?[0-9A-Fa-f]{1,4}){0,7}")
VERSION_6_ANY = re.compile(
    r"(?:[0-9A-Fa-f]{1,4}:){1,7}(?::?[0-9A-Fa-f]{1,4}){0,7}|::(?:[0-9A-Fa-f]{1,4}:){0,6}[0-9A-Fa-f]{1,4}"
)
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
VERSION_WORD = re.compile(r"(?:\bv|version|release|revision|rfc|section|[=<>~!]=|\boid)[\s:='\"(]*$", re.IGNORECASE)
ADDRESS_WORD = re.compile(r"\b(?:ip|ipv4|address|addr|host|server|ping|dns|peer|client|from)\b", re.IGNORECASE)
CONTEXT = 24
LEAST_GROUPS = 3
"""Fewer written groups of version 6 are more often a slice, a scope or a time."""


def find_ips(text: str, *, public_only: bool) -> Iterator[tuple[int, int]]:
    """Start and end of every address.

    Args:
        text: to be searched.
        public_only: leave out addresses that name no machine on the internet (RFC 6890: loopback, private, link-local,
            documentation, ...).
    """
    yield from _version_4(text, public_only)
    if text.count(":") >= LEAST_GROUPS - 1:
        yield from _version_6(text, public_only)


def _version_4(text: str, public_only: bool) -> Iterator[tuple[int, int]]:
    for rest in VERSION_4_REST.finditer(text):
        first = FIRST_NUMBER.search(text, max(0, rest.start() - 3), rest.start())
        if first is None:
            continue
        start, end = first.start(), rest.end()
        if _continues(text, start, end, ".") or not _is_version_4(text[start:end], public_only):
            continue
        before = text[max(0, start - CONTEXT) : start]
        if VERSION_WORD.search(before) or (_looks_like_version(text[start:end]) and not ADDRESS_WORD.search(before)):
            continue
        yield start, end


def _is_version_4(address: str, public_only: bool) -> bool:
    try:
        parsed = ipaddress.IPv4Address(address)  # refuses numbers above 255 and leading zeros
    except ValueError:
        return False
    return parsed.is_global and not parsed.is_multicast if public_only else True


def _looks_like_version(address: str) -> bool:
    """`1.2.3.4`, `8.2.4.44`: at least three numbers have one digit. Such addresses exist (public name servers), but in text
    most of what looks like this are versions and sections."""
    return sum(len(number) == 1 for number in address.split(".")) >= 3 and ipaddress.IPv4Address(address).is_global


def _version_6(text: str, public_only: bool) -> Iterator[tuple[int, int]]:
    for match in (VERSION_6_PUBLIC if public_only else VERSION_6_ANY).finditer(text):
        start, end = match.span()
        if not _continues(text, start, end, ":.") and _is_version_6(match[0], public_only):
            yield start, end


def _is_version_6(address: str, public_only: bool) -> bool:
    groups = [group for group in address.split(":") if group]
    if len(groups) < LEAST_GROUPS or not any(character.isdigit() for character in address):
        return False
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return parsed in GLOBAL_UNICAST and parsed.is_global if public_only else True


def _continues(text: str, start: int, end: int, marks: str) -> bool:
    """Whether a match is a part of something longer: a word, or a longer run of numbers and marks."""
    before, after = text[max(0, start - 1) : start], text[end : end + 2]
    if before.isalnum() or (before and before in "_" + marks) or after[:1].isalnum() or after[:1] == "_":
        return True
    return after[:1] in tuple(marks) and after[1:].isalnum()
