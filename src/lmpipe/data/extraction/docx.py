"""The text of a Word document: paragraphs, headings, lists and tables in their order.

A .docx file is a zip archive with `word/document.xml` in it. Only that member and the properties are unpacked, in memory and up
to a bound, so neither names that lead elsewhere nor members that unfold a thousandfold do anything. Document types (and so
entities) are refused: the format forbids them.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from xml.etree import ElementTree

from lmpipe.data.extraction.pdf import Paper, UnreadableError

DAMAGED = "not a Word document, or a damaged one"
TOO_LARGE = "the Word document unfolds to more than max_record_bytes"
DOCTYPE = "the Word document declares a document type"
ENCRYPTED = "the Word document is encrypted"
BODY = "word/document.xml"
PROPERTIES = "docProps/core.xml"
W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
DC = "{http://purl.org/dc/elements/1.1/}"
CREATED = "{http://purl.org/dc/terms/}created"
OLE = b"\xd0\xcf\x11\xe0"
SKIPPED = {f"{W}del", f"{W}moveFrom", f"{W}instrText", f"{W}txbxContent"}
"""Deleted text, field codes; text boxes are repeated for old programs, so they are left out."""


def read_docx(data: bytes, max_bytes: int) -> Paper:
    """Text with a line for every paragraph and a tab between the cells of a row, and `title`, `author`, `date`.

    Args:
        data: the file.
        max_bytes: the most that a member may unfold to.

    Raises:
        UnreadableError: for a file that is damaged, encrypted, too large or no Word document.
    """
    if data.startswith(OLE):
        raise UnreadableError(ENCRYPTED)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            body = _parsed(_member(archive, BODY, max_bytes))
            known = PROPERTIES in archive.namelist()
            properties = _parsed(_member(archive, PROPERTIES, max_bytes)) if known else None
        content = body.find(f"{W}body")
        text = None if content is None else "\n".join(_blocks(content))
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        KeyError,
        NotImplementedError,
        ElementTree.ParseError,
        RuntimeError,
    ):  # RecursionError too
        raise UnreadableError(DAMAGED) from None
    if text is None:
        raise UnreadableError(DAMAGED)
    return Paper(text, _meta(properties))


def _member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """One member, of which the size that the archive states is not believed."""
    with archive.open(name) as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise UnreadableError(TOO_LARGE)
    return data


def _parsed(data: bytes) -> ElementTree.Element:
    if b"<!DOCTYPE" in data[:4096] or b"<!ENTITY" in data:
        raise UnreadableError(DOCTYPE)
    return ElementTree.fromstring(data)


def _blocks(parent: ElementTree.Element) -> Iterator[str]:
    """The lines of a body or a cell."""
    for child in parent:
        if child.tag == f"{W}p":
            yield _text(child)
        elif child.tag == f"{W}tbl":
            for row in child.iter(f"{W}tr"):
                yield "\t".join(" ".join(line for line in _blocks(cell) if line) for cell in row.findall(f"{W}tc"))
        elif child.tag in (f"{W}sdt", f"{W}sdtContent", f"{W}ins", f"{W}smartTag", f"{W}customXml"):
            yield from _blocks(child)


def _text(node: ElementTree.Element) -> str:
    """The runs of a paragraph. Nesting is followed by a list, not by the call stack."""
    parts: list[str] = []
    todo = [node]
    while todo:
        here = todo.pop()
        if here.tag == f"{W}t":
            parts.append(here.text or "")
        elif here.tag in (f"{W}tab", f"{W}ptab"):
            parts.append("\t")
        elif here.tag in (f"{W}br", f"{W}cr"):
            parts.append("\n")
        elif here.tag == f"{W}noBreakHyphen":
            parts.append("-")
        elif here.tag not in SKIPPED:
            todo.extend(reversed(here))
    return "".join(parts)


def _meta(properties: ElementTree.Element | None) -> dict[str, str | int]:
    if properties is None:
        return {}
    found = {"title": f"{DC}title", "author": f"{DC}creator", "date": CREATED}
    return {name: text for name, tag in found.items() if (text := (properties.findtext(tag) or "").strip())}
