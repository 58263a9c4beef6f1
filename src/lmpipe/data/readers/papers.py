"""Files that are one document each: Markdown, HTML, PDF, Word. A file above `max_record_bytes` is booked as failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import IO

from lmpipe.data.extraction.config import ExtractConfig
from lmpipe.data.extraction.html import extractor
from lmpipe.data.readers.config import DocxSource, FileSource, HtmlSource, MarkdownSource, PdfSource
from lmpipe.data.readers.lines import BLOCK_BYTES, BOM, KEPT_BYTES, Tick
from lmpipe.data.readers.record import INVALID_TEXT, TOO_LONG, Record, decode
from lmpipe.data.readers.watching import Watch

NO_MAIN_TEXT = "no main text"
NO_TEXT_LAYER = "no text layer"
NOT_EXTRACTED = "the page cannot be parsed"
FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?\r?\n)?(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)
SIMPLE_LINE = re.compile(r"([A-Za-z][\w .-]{0,60}):[ \t]+(\S.*)")


PaperSource = MarkdownSource | HtmlSource | PdfSource | DocxSource


def read_paper(config: PaperSource, stream: IO[bytes], tick: Tick, watch: Watch) -> Iterator[Record]:
    """The one document of a file.

    Args:
        config: the source.
        stream: decompressed bytes.
        tick: told bytes read.
        watch: told when the file is being parsed.
    """
    data = b"".join(_blocks(stream, config.max_record_bytes + 1, tick))
    if len(data) > config.max_record_bytes:
        yield Record("0", error=TOO_LONG, offset=0, raw=data[:KEPT_BYTES])
    else:
        yield watch.parsed("0", partial(_record, config, data), data)


def _blocks(stream: IO[bytes], size: int, tick: Tick) -> Iterator[bytes]:
    """At most `size` bytes, a block at a time: a slow line must not look like a parser that hangs."""
    while size > 0 and (block := stream.read(min(BLOCK_BYTES, size))):
        size -= len(block)
        tick(len(block))
        yield block


def _record(config: PaperSource, data: bytes) -> Record:
    if isinstance(config, MarkdownSource):
        return _markdown(config, data)
    if isinstance(config, HtmlSource):
        return page_record(config, config.extract, "0", data, url=None, charset=None)
    return _paper(config, data)


def _markdown(config: MarkdownSource, data: bytes) -> Record:
    start = len(BOM) if data.startswith(BOM) else 0
    text, invalid = decode(data[start:], "utf-8", config.errors)
    if invalid is not None:
        return Record("0", error=INVALID_TEXT.format(encoding="utf-8"), offset=start + invalid, raw=data)
    meta = {}
    if config.front_matter and (match := FRONT_MATTER.match(text)):
        lines = (SIMPLE_LINE.fullmatch(line) for line in (match[1] or "").splitlines())
        meta = {line[1].strip(): line[2].strip().strip("\"'") for line in lines if line}
        text = text[match.end() :].lstrip("\r\n")
    return Record("0", text=text, meta=meta or None)


def page_record(
    source: FileSource,
    config: ExtractConfig | None,
    number: str,
    data: bytes,
    *,
    url: str | None,
    charset: str | None,
    offset: int | None = None,
) -> Record:
    """The record of one page.

    Args:
        source: where it is from: its `errors` say what becomes of bytes that are no text.
        config: how its text is found; None: it is plain text.
        number: its name in the file.
        data: the body, as it was sent.
        url: its address, where it is known; kept in the metadata.
        charset: as the HTTP header says.
        offset: where it begins in the file.
    """
    from lmpipe.data.extraction.encoding import decode_page

    decoded = decode_page(data, charset)
    if decoded.wrong is not None and source.errors == "fail":
        return Record(number, error=INVALID_TEXT.format(encoding=decoded.encoding), offset=offset, raw=data)
    known = {"encoding": decoded.encoding, **({"url": url} if url else {})}
    if config is None:
        return Record(number, text=decoded.text, offset=offset, meta=known)
    try:
        page = extractor(config)(decoded.text, url)
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, RuntimeError, AssertionError) as error:
        # Parsers meet pages that nobody thought of; RecursionError is a RuntimeError.
        return Record(number, error=f"{NOT_EXTRACTED}: {type(error).__name__}", offset=offset, raw=data)
    if not page.text.strip():
        return Record(number, dropped=NO_MAIN_TEXT, offset=offset)
    language = page.language if source.language == "unknown" else None
    return Record(number, text=page.text, offset=offset, language=language, meta={**page.meta, **known})


def _paper(config: PdfSource | DocxSource, data: bytes) -> Record:
    from lmpipe.data.extraction.docx import read_docx
    from lmpipe.data.extraction.pdf import UnreadableError, read_pdf

    try:
        paper = read_pdf(data, config.max_pages) if isinstance(config, PdfSource) else read_docx(data, config.max_record_bytes)
    except UnreadableError as error:
        return Record("0", error=str(error), raw=data)
    if not paper.text.strip() and isinstance(config, PdfSource):
        return Record("0", dropped=NO_TEXT_LAYER)
    return Record("0", text=paper.text, meta=paper.meta or None)
