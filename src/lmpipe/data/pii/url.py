"""Web addresses, and the user names and passwords that some of them carry. Found from `://`, which little else has."""

from __future__ import annotations

import re
from collections.abc import Iterator

SCHEME = re.compile(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{1,15}$", re.ASCII)
USER_INFO = re.compile(r"://(?P<secret>[^\s/:@<>\"'`{}$%]{1,64}:[^\s/@<>\"'`{}]{1,256})@[A-Za-z0-9\[]")
ADDRESS = re.compile(r"://[A-Za-z0-9][^\s<>\"'`{}|\\^]*")
TRAILING = ".,;:!?)]*_"
"""Belong to the sentence around an address, not to it."""
FILLERS = re.compile(r"(?:user(?:name)?|login|me|name|foo|x+):(?:pass(?:word|wd)?|secret|pw|bar|x+|\*+|\.+)", re.IGNORECASE)


def find_url_credentials(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every `user:password` before the @ of an address; the address itself stays."""
    for match in USER_INFO.finditer(text):
        if not FILLERS.fullmatch(match["secret"]):
            yield match.span("secret")


def find_urls(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every web address with its scheme."""
    for match in ADDRESS.finditer(text):
        scheme = SCHEME.search(text, max(0, match.start() - 16), match.start())
        end = match.start() + len(match[0].rstrip(TRAILING))
        if scheme and end - match.start() > 4:
            yield scheme.start(), end
