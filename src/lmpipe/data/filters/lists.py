"""Lists that the user gives: words that documents may not hold, places that they may not come from.

Files are UTF-8 text, one entry per line; empty lines and those that begin with `#` say nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from lmpipe.base.errors import SourceError
from lmpipe.data.filters.batch import Batch
from lmpipe.data.readers.opening import open_decompressed, reading

WORD = re.compile(r"\w+")
SCHEME = re.compile(r"^[a-z][a-z0-9+.\-]*://", re.IGNORECASE)


def read_list(name: str, url: str) -> list[str]:
    """The entries of a list, in order, each once.

    Raises:
        SourceError: when the file is not there, is no UTF-8 text, or has no entry.
    """
    with reading(name, url), open_decompressed(url) as stream:
        try:
            lines = stream.read().decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise SourceError(f"'{name}' is no UTF-8 text: {error}", expected="one entry per line, in UTF-8") from None
    entries = list(dict.fromkeys(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")))
    if not entries:
        raise SourceError(f"'{name}' has no entries", expected="one entry per line", fix="correct `path`, or remove the filter")
    return entries


class WordList:
    """Counts the occurrences of listed words and phrases."""

    def __init__(self, entries: Sequence[str], *, whole_words: bool) -> None:
        lowered = dict.fromkeys(entry.lower() for entry in entries)
        self._words = {entry for entry in lowered if whole_words and WORD.fullmatch(entry)}
        self._phrases = [entry for entry in lowered if entry not in self._words]
        self._whole = whole_words

    def __call__(self, batch: Batch) -> list[Any]:
        """Occurrences in each text."""
        return [np.array([self.count(text) for text in batch.texts], np.int64)]

    def count(self, text: str) -> int:
        """Occurrences in one text.

        >>> WordList(["ass", "big ass"], whole_words=True).count("A big ass, no grass.")
        2
        """
        low = text.lower()
        found = sum(map(self._words.__contains__, WORD.findall(low))) if self._words else 0
        return found + sum(self._occurrences(phrase, low) for phrase in self._phrases if phrase in low)

    def _occurrences(self, phrase: str, low: str) -> int:
        if not self._whole:
            return low.count(phrase)
        return len(re.findall(rf"(?<!\w){re.escape(phrase)}(?!\w)", low))


class UrlList:
    """Says which documents come from a listed domain or URL."""

    def __init__(self, entries: Sequence[str], url_key: str) -> None:
        split = [SCHEME.sub("", entry).lower() for entry in entries]
        self._domains = {entry.rstrip("/").removeprefix("www.") for entry in split if "/" not in entry.rstrip("/")}
        self._prefixes: dict[str, list[str]] = {}
        for entry in split:
            host, slash, path = entry.partition("/")
            if slash and path:
                self._prefixes.setdefault(host.removeprefix("www."), []).append(path)
        self._url_key = url_key

    def __call__(self, batch: Batch) -> list[Any]:
        """1 for each text from a listed place."""
        urls = (self._url(meta) or source for source, meta in zip(batch.sources, batch.metas, strict=True))
        return [np.array([self.is_listed(url) for url in urls], np.int64)]

    def is_listed(self, url: str) -> bool:
        """Whether a URL is listed, its domain or one above it.

        >>> UrlList(["bad.org", "ok.org/ads/"], "url").is_listed("https://www.ok.org/ads/1")
        True
        """
        host, path = host_and_path(url)
        if any(path.startswith(prefix) for prefix in self._prefixes.get(host, ())):
            return True
        labels = host.split(".")
        return any(".".join(labels[place:]) in self._domains for place in range(len(labels)))

    def _url(self, meta: str) -> str | None:
        return url_of(meta, self._url_key)


def url_of(meta: str, key: str) -> str | None:
    """The URL among a document's metadata."""
    value = json.loads(meta).get(key) if f'"{key}"' in meta else None
    return value if isinstance(value, str) else None


def host_and_path(url: str) -> tuple[str, str]:
    """`https://www.Example.org:80/a?b` -> (`example.org`, `a?b`); of what is no URL, the text before the first slash."""
    try:
        parts = urlsplit(url if SCHEME.match(url) else f"//{url}")
        host = parts.hostname or ""
    except ValueError:
        return "", ""
    path = parts.path.removeprefix("/") + (f"?{parts.query}" if parts.query else "")
    return host.lower().removeprefix("www."), path.lower()
