"""E-mail addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator

ADDRESS = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![\w-])"
)


def find_emails(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and the address in lower case."""
    for match in ADDRESS.finditer(text):
        yield match.start(), match.end(), match[0].lower()
