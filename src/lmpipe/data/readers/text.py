"""Plain text: a file, a paragraph or a line is a document, and a long one is cut into pieces at line borders.

A line that is too long is booked as failed by itself, and the text before and after it becomes pieces of their own: no document
hides a gap.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import IO, cast

from lmpipe.data.readers.config import TextSource
from lmpipe.data.readers.lines import BOM, Line, Tick, in_lines, read_lines
from lmpipe.data.readers.record import INVALID_TEXT, TOO_LONG, Record, Records, decode


def read_text(config: TextSource, stream: IO[bytes], tick: Tick, *, start: int = 0, first: int = 0) -> Records:
    """The documents of one file, or of a slice of it where lines are documents.

    Args:
        config: the source.
        stream: decompressed bytes.
        tick: told bytes read.
        start: where in the file the stream begins.
        first: number of the first document.
    """
    if config.document == "file" and not config.wide:
        small = min(config.max_document_chars, config.max_record_bytes)
        head = read_up_to(stream, small + 1)
        if len(head) <= small:  # one piece whatever is in it: no need to look at lines
            yield _whole(config, head)
            return
        stream = cast("IO[bytes]", Resumed(head, stream))
    source, encoding = in_lines(config, stream)
    cutter = _Cutter(config, encoding, number=first)
    try:
        yield from cutter.records(_ticking(read_lines(source, config.max_record_bytes, bare_cr=True, start=start), tick))
    except UnicodeDecodeError:  # only wide encodings are decoded as a stream, and the position is lost in it
        yield Record(str(cutter.number), error=INVALID_TEXT.format(encoding=config.encoding))


def read_up_to(stream: IO[bytes], size: int) -> bytes:
    """`size` bytes, fewer only at the end: streams may give less than they are asked for."""
    data = b""
    while len(data) < size and (block := stream.read(size - len(data))):
        data += block
    return data


def _whole(config: TextSource, data: bytes) -> Record:
    start = len(BOM) if data.startswith(BOM) else 0
    text, invalid = decode(data[start:], config.encoding, config.errors)
    if invalid is not None:
        return Record("0", error=INVALID_TEXT.format(encoding=config.encoding), offset=start + invalid, raw=data)
    return Record("0", text=text)


class Resumed(io.RawIOBase):
    """A stream of which the beginning was read already."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int = -1) -> bytes:
        """The beginning at first, then the rest."""
        head, self._head = self._head, b""
        return head or self._rest.read(size)


def _ticking(lines: Iterator[Line], tick: Tick) -> Iterator[Line]:
    pending = 0
    for line in lines:
        pending += len(line.data or b"")
        if pending > 1 << 20:
            tick(pending)
            pending = 0
        yield line


@dataclass
class _Cutter:
    """Puts lines together into documents."""

    config: TextSource
    encoding: str
    number: int = 0
    """Of the document that is being put together."""
    piece: int = 0
    parts: list[str] = field(default_factory=list)
    characters: int = 0
    invalid_at: int | None = None
    """Offset of the first undecodable byte of the piece."""
    raw: list[bytes] = field(default_factory=list)
    """The lines of the piece, once one of them could not be decoded."""

    def records(self, lines: Iterator[Line]) -> Records:
        """All documents."""
        unit, limit = self.config.document, self.config.max_document_chars
        for line in lines:
            if line.data is None:
                yield from self._skip(line)
                continue
            text, invalid = decode(line.data, self.encoding, self.config.errors)
            if invalid is not None and self.invalid_at is None:
                self.invalid_at = line.offset + invalid
                self.raw = [part.encode(self.encoding) for part in self.parts]
            if self.characters + len(text) > limit:
                text = yield from self._make_room(text)
            self.parts.append(text)
            if self.invalid_at is not None:
                self.raw.append(line.data)
            self.characters += len(text) or len(line.data)  # a line that could not be decoded still takes up room
            if unit == "line" or (unit == "paragraph" and line.data.isspace()):
                yield from self._finish()
        yield from self._finish(last=True)

    def _skip(self, line: Line) -> Records:
        """Book a line that is too long: a document by itself, or a piece of one."""
        alone = self.config.document == "line"
        yield from self._cut()
        yield Record(
            str(self.number) if alone else f"{self.number}~{self.piece}", error=TOO_LONG, offset=line.offset, raw=line.head
        )
        if alone:
            self.number += 1
        else:
            self.piece += 1

    def _make_room(self, text: str) -> Generator[Record, None, str]:
        """Cut before a line that does not fit any more, and within one that alone is too long; return what is left of it."""
        limit = self.config.max_document_chars
        yield from self._cut()
        while len(text) > limit:
            end = text.rfind(" ", limit // 2, limit) + 1 or limit
            self.parts, self.characters = [text[:end]], end
            yield from self._cut()
            text = text[end:]
        return text

    def _cut(self) -> Records:
        """Close a piece of a document that goes on."""
        if self.characters:
            yield self._record(f"{self.number}~{self.piece}")
            self.piece += 1

    def _finish(self, last: bool = False) -> Records:
        """Close a document. Empty lines between paragraphs are none, and neither is what follows the last line's end."""
        empty = self.invalid_at is None and not any(part.strip() for part in self.parts)
        if empty and (self.piece or self.config.document == "paragraph" or (last and self.number)):
            self.number += self.piece > 0
            self._clear()
        else:
            yield self._record(f"{self.number}~{self.piece}" if self.piece else str(self.number))
            self.number += 1
        self.piece = 0

    def _record(self, name: str) -> Record:
        text, invalid_at, raw = "".join(self.parts), self.invalid_at, self.raw
        self._clear()
        if invalid_at is not None:
            error = INVALID_TEXT.format(encoding=self.config.encoding)
            return Record(name, error=error, offset=invalid_at, raw=b"".join(raw))
        return Record(name, text=text if self.config.document == "file" else text.rstrip("\r\n"))

    def _clear(self) -> None:
        self.parts, self.characters, self.invalid_at, self.raw = [], 0, None, []
