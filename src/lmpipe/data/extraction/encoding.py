"""From the bytes of a page to its text: which encoding, and how sure.

    byte order mark  >  valid UTF-8  >  what HTTP says  >  what the page says  >  a guess from the bytes (uchardet)

Bytes that are valid UTF-8 and not ASCII alone are UTF-8 whatever a header says: by chance, other text hardly ever is. A
declared encoding counts where it can decode every byte; a page that says UTF-8 and holds a few wrong bytes is UTF-8 with a few
wrong bytes. Labels are those of the web (WHATWG): `iso-8859-1` means windows-1252.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
META = re.compile(rb"""<meta[^>]{0,400}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)
XML = re.compile(rb"""\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)
HEAD_BYTES = 4096
"""Browsers look at 1,024 bytes; pages in the wild declare it later."""
MAX_WRONG_FRACTION = 0.1
"""Of the bytes beyond ASCII, at most so many may be wrong in what is still UTF-8."""


class Decoded(NamedTuple):
    """Text and what it was."""

    text: str
    encoding: str
    wrong: int | None
    """Position of the first byte that had to be replaced; None: there was none."""


def decode_page(data: bytes, declared: str | None = None) -> Decoded:
    """The text of a page; bytes that fit no encoding become U+FFFD.

    Args:
        data: the body.
        declared: the charset of the HTTP header, where there was one.
    """
    for mark, encoding in BOMS:
        if data.startswith(mark):
            return _decoded(data[len(mark) :], encoding, len(mark))
    shift = b"\x1b$" in data[:HEAD_BYTES]  # ISO-2022-JP is ASCII to the eye
    if not shift:
        try:
            return Decoded(data.decode(), "utf-8", None)
        except UnicodeDecodeError:
            pass
    for label in (declared, _declared_in(data)):
        stated = known(label)
        found = _decoded(data, stated) if stated else None
        if found and (found.wrong is None or (stated == "utf-8" and _mostly_right(data, found))):
            return found
    return _decoded(data, known(detect_encoding(data)) or "windows-1252")


def known(label: str | None) -> str | None:
    """Python's name for a label of the web; None for one that nobody knows.

    >>> known("ISO-8859-1"), known("utf8"), known("klingon")
    ('cp1252', 'utf-8', None)
    """
    if not label:
        return None
    mapped = map_encoding_to_html5(label.strip().strip("\"'").lower(), fallback_utf8=False)
    mapped = "gb18030" if mapped == "gbk" else mapped  # which holds it, and is how browsers decode it
    try:
        return codecs.lookup(mapped).name if mapped else None
    except LookupError:
        return None


def _declared_in(data: bytes) -> str | None:
    head = data[:HEAD_BYTES]
    match = META.search(head) or XML.match(head)
    return match[1].decode("ascii") if match else None


def _mostly_right(data: bytes, found: Decoded) -> bool:
    beyond_ascii = sum(byte > 127 for byte in data[: 1 << 16])
    wrong = found.text[: 1 << 16].count("\ufffd")
    return wrong <= MAX_WRONG_FRACTION * beyond_ascii


def _decoded(data: bytes, encoding: str, skipped: int = 0) -> Decoded:
    try:
        return Decoded(data.decode(encoding), encoding, None)
    except UnicodeDecodeError as error:
        return Decoded(data.decode(encoding, "replace"), encoding, skipped + error.start)
