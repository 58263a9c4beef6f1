"""The text layer of a PDF file, page by page, through PDFium. Pictures of text stay pictures."""

from __future__ import annotations

from dataclasses import dataclass, field

from lmpipe.base.extras import require

ENCRYPTED = "the PDF file is encrypted"
PROPERTIES = {"title": "Title", "author": "Author", "date": "CreationDate"}
DAMAGED = "not a PDF file, or a damaged one"


class UnreadableError(Exception):
    """A file that gives no text; the message is one of the fixed sentences above."""


@dataclass(frozen=True)
class Paper:
    """What a file gave."""

    text: str
    meta: dict[str, str | int] = field(default_factory=dict)


def read_pdf(data: bytes, max_pages: int | None) -> Paper:
    """Text of all pages, a form feed between them (as `pdftotext` does), and `title`, `author`, `date`, `pages`.

    Raises:
        UnreadableError: for a file that is encrypted, damaged or none.
    """
    pdfium = require("pypdfium2", extra="documents", purpose="reading PDF files")
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        raise UnreadableError(ENCRYPTED if "password" in str(error).lower() else DAMAGED) from None
    try:
        count = len(document)
        read = count if max_pages is None else min(count, max_pages)
        texts = [_page_text(document, number) for number in range(read)]
        said = document.get_metadata_dict(skip_empty=True)
    except pdfium.PdfiumError:
        raise UnreadableError(DAMAGED) from None
    finally:
        document.close()
    meta: dict[str, str | int] = {"pages": count}
    meta |= {name: said[key] for name, key in PROPERTIES.items() if said.get(key)}
    if read < count:
        meta["pages_left_out"] = count - read
    return Paper("\f".join(texts).strip("\f"), meta)


def _page_text(document: object, number: int) -> str:
    page = document[number]  # type: ignore[index]
    try:
        text_page = page.get_textpage()
        try:
            return str(text_page.get_text_bounded()).replace("\r\n", "\n").replace("\ufffe", "")  # its mark for a cut word
        finally:
            text_page.close()
    finally:
        page.close()
