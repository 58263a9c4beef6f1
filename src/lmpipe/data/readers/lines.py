"""Lines of a byte stream, none of them longer than a bound: the rest of a longer one is skipped without being kept."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple, cast

from lmpipe.data.readers.config import EncodedSource

BLOCK_BYTES = 1 << 20
KEPT_BYTES = 1 << 20
"""So much of a line that is too long is kept, for the quarantine."""
BOM = codecs.BOM_UTF8
Tick = Callable[[float], None]


class Line(NamedTuple):
    """One line with its ending."""

    offset: int
    """Where it begins, in bytes."""
    data: bytes | None
    """None: it was longer than the bound."""
    head: bytes = b""
    """The beginning of a line that was longer."""


def read_lines(stream: IO[bytes], max_bytes: int, *, bare_cr: bool, start: int = 0) -> Iterator[Line]:
    """Every line of a stream; a byte order mark at its beginning is left out.

    Args:
        stream: decompressed bytes.
        max_bytes: the longest line that is given; memory stays below this and two blocks.
        bare_cr: whether a carriage return alone ends a line (old Macintosh texts), beside LF and CR LF.
        start: where in its file the stream begins; only the beginning of a file has a byte order mark.
    """
    split = _split_anywhere if bare_cr else _split_at_lf
    position = start  # of the next byte that was not split yet; `start` is where the line that goes on began
    carry, head, too_long = b"", b"", False
    while block := stream.read(BLOCK_BYTES):
        if position == 0 and block.startswith(BOM):
            position = start = len(BOM)
            block = block[len(BOM) :]
        lines = split(carry + block)
        position -= len(carry)
        # A final CR is not closed: LF may follow in the next block.
        carry = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        for data in lines:
            yield _line(start, data, head, too_long, max_bytes)
            position += len(data)
            start, too_long = position, False
        if len(carry) > max_bytes and not too_long:
            too_long, head = True, carry[:KEPT_BYTES]
        position += len(carry)
        if too_long:  # throw it away but for a byte that may be half of CR LF
            carry = carry[-1:]
    if carry:
        yield _line(start, carry, head, too_long, max_bytes)


def _line(start: int, data: bytes, head: bytes, too_long: bool, max_bytes: int) -> Line:
    if too_long:
        return Line(start, None, head)
    return Line(start, data) if len(data) <= max_bytes else Line(start, None, data[:KEPT_BYTES])


def _split_anywhere(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)  # for bytes: LF, CR, CR LF and nothing else


def _split_at_lf(data: bytes) -> list[bytes]:
    *closed, rest = data.split(b"\n")
    return [line + b"\n" for line in closed] + ([rest] if rest else [])


class Transcoded(io.RawIOBase):
    """A stream of an encoding whose line ends are not one byte (UTF-16, UTF-32), as UTF-8.

    Raises:
        UnicodeDecodeError: while reading, where bytes are invalid and `errors` is `strict`.
    """

    def __init__(self, stream: IO[bytes], encoding: str, errors: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("replace" if errors == "replace" else "strict")

    def read(self, size: int = -1) -> bytes:
        """Roughly `size` bytes, none at the end."""
        while True:
            block = self._stream.read(BLOCK_BYTES if size < 0 else size)
            text = self._decoder.decode(block, final=not block)
            if text or not block:
                return text.encode("utf-8", "surrogatepass")


def in_lines(config: EncodedSource, stream: IO[bytes]) -> tuple[IO[bytes], str]:
    """(bytes of a source's file in which a line feed is one byte, their encoding)."""
    if config.wide:
        return cast("IO[bytes]", Transcoded(stream, config.encoding, config.errors)), "utf-8"
    return stream, config.encoding
