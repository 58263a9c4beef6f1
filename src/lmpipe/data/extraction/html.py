"""The main text of a page and what the page says of itself, by trafilatura or resiliparse.

Promises: the text is the engine's own for the same options (a test compares); the same page gives the same text whenever and
wherever it is read: dates are bounded by a fixed day instead of today. Does not know encodings, HTTP or archives.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate, count
from typing import Any

from lmpipe.base.extras import require
from lmpipe.data.extraction.config import ExtractConfig

LATEST_DATE = "2099-12-31"
"""Trafilatura's own bound is the day on which it runs: a page would change its date over night."""
PURPOSE = "extracting the text of web pages"
LANGUAGE = re.compile(r"<html[^>]{0,1000}?\slang\s*=\s*[\"']?([A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,3})", re.IGNORECASE)
MAX_DEPTH = 3000
"""Of nested elements. Resiliparse's time grows with more than their square: 0.5 s at 3,000, 12 s at 10,000, 150 s at 30,000."""
SHALLOW = "area|base|br|col|embed|hr|img|input|li|link|meta|p|param|source|td|th|tr|track|wbr"
"""Elements that are not closed, or may be left open."""
TAGS = re.compile(rf"<(/?)(?!(?:{SHALLOW})\b)[a-z]", re.IGNORECASE)
FORGET_EVERY = 5000
"""Pages, after which trafilatura's caches are emptied: they grow with the words seen."""
PAGES = count(1)


@dataclass(frozen=True)
class Page:
    """What was found in a page."""

    text: str
    """Empty where there is no main text."""
    language: str | None = None
    """As the page itself says, a BCP 47 tag."""
    meta: dict[str, str] = field(default_factory=dict)
    """`title`, `date` (ISO 8601), `site`; absent where the page does not say."""


Extractor = Callable[[str, str | None], Page]


def extractor(config: ExtractConfig) -> Extractor:
    """A function from (HTML, address) to a page.

    Raises:
        MissingExtraError: when the engine is not installed.
    """
    return _Trafilatura(config) if config.engine == "trafilatura" else _Resiliparse(config)


def language_of(html: str) -> str | None:
    """What `<html lang>` says.

    >>> language_of('<!doctype html><html class="no-js" lang="de_AT">')
    'de-AT'
    """
    match = LANGUAGE.search(html, 0, 4096)
    return match[1].replace("_", "-") if match else None


class NestedTooDeeplyError(ValueError):
    """A page nobody wrote: elements in elements in elements."""


def check_depth(html: str) -> None:
    """Refuse what would keep a parser busy for minutes. Counts tags, and only where there are enough of them.

    Raises:
        NestedTooDeeplyError: for more than 3,000 open elements.
    """
    if html.count("<") > 2 * MAX_DEPTH:
        steps = (-1 if closing else 1 for closing in TAGS.findall(html))
        if max(accumulate(steps), default=0) > MAX_DEPTH:
            raise NestedTooDeeplyError


class _Trafilatura:
    def __init__(self, config: ExtractConfig) -> None:
        self._module = require("trafilatura", extra="web", purpose=PURPOSE)
        self._options = {
            "fast": config.fast,
            "favor_precision": config.favour == "precision",
            "favor_recall": config.favour == "recall",
            "include_comments": config.comments,
            "include_tables": config.tables,
            "with_metadata": config.metadata,
            "date_extraction_params": {"original_date": True, "extensive_search": True, "max_date": LATEST_DATE},
        }
        self._comments = config.comments
        for name in ("trafilatura", "htmldate", "courlan"):  # one line for every page without text
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def __call__(self, html: str, url: str | None) -> Page:
        if next(PAGES) % FORGET_EVERY == 0:
            require("trafilatura.meta", extra="web", purpose=PURPOSE).reset_caches()
        found = self._module.bare_extraction(html, url=url, **self._options)
        if found is None:
            return Page("", language_of(html))
        text = f"{found.text}\n{found.comments or ''}" if self._comments else found.text
        meta = {"title": found.title, "date": found.date, "site": found.sitename}
        return Page(unicodedata.normalize("NFC", text.strip()), language_of(html), _present(meta))


class _Resiliparse:
    def __init__(self, config: ExtractConfig) -> None:
        self._parse = require("resiliparse.parse.html", extra="web", purpose=PURPOSE).HTMLTree.parse
        self._extract = require("resiliparse.extract.html2text", extra="web", purpose=PURPOSE).extract_plain_text
        self._options = {"main_content": config.favour != "recall", "comments": config.comments, "alt_texts": False}
        self._metadata = config.metadata

    def __call__(self, html: str, url: str | None) -> Page:
        check_depth(html)
        tree = self._parse(html)
        text = self._extract(tree, preserve_formatting=True, **self._options)
        return Page(text, language_of(html), _present(_resiliparse_meta(tree)) if self._metadata else {})


DATES = (
    ('meta[property="article:published_time"]', "content"),
    ('meta[itemprop="datePublished"]', "content"),
    ('meta[name="date"]', "content"),
    ("time[datetime]", "datetime"),
)
DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})")


def _resiliparse_meta(tree: Any) -> dict[str, str | None]:
    root = tree.document
    site = root.query_selector('meta[property="og:site_name"]')
    dates = (DAY.match(node.getattr(key, "")) for query, key in DATES if (node := root.query_selector(query)) is not None)
    return {
        "title": " ".join((tree.title or "").split()),
        "date": next((match[0] for match in dates if match), None),
        "site": site.getattr("content", "") if site is not None else None,
    }


def _present(meta: dict[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in meta.items() if value}
