"""The bytes of a web archive and the place of each: plain, gzip by record or as a whole, or any other packing.

    place of a record     12345          its offset in the file, as an index of the archive (CDX) has it
                          12345+678      in a gzip member that holds several: the member's offset, and how far into it
                          12345          in other packings: its offset in the unpacked stream

What is damaged raises `Damage`; `resync` then finds the next place where a record can begin. Memory is bounded by what is asked
for.
"""

from __future__ import annotations

import lzma
import zlib
from collections import deque
from collections.abc import Iterator
from typing import IO

BLOCK_BYTES = 1 << 16
GZIP = b"\x1f\x8b\x08"
MAGICS = ((b"\x28\xb5\x2f\xfd", ".zst"), (b"\x04\x22\x4d\x18", ".lz4"), (b"BZh", ".bz2"), (b"\xfd7zXZ\x00", ".xz"))
RECORD = b"WARC/"
MAX_LINE_BYTES = 1 << 16


class Damage(Exception):
    """The bytes are not those of a web archive; the message is a fixed sentence."""


class CutOff(Damage):
    """A record ends where the next one begins, before its length is reached; reading can go on there."""


class PlainStream:
    """An archive that is not packed, or was unpacked."""

    def __init__(self, raw: IO[bytes], start: int = 0, *, unpacked: bool = False) -> None:
        self._raw, self._unpacked_stream = raw, unpacked
        self.within_record = False
        """Set while a record's block is taken, which no other record may begin in."""
        self._buffer = b""
        self._at = 0  # of the next byte in the buffer
        self._base = start  # offset of the buffer's beginning
        self._ended = False

    @property
    def position(self) -> int:
        """Of the next byte, in the unpacked stream."""
        return self._base + self._at

    def raw_position(self) -> int:
        """About how far the file has been read."""
        return self.position

    def place(self) -> tuple[int, int]:
        """(offset, how far into it) of the next byte."""
        return self.position, 0

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self._at >= len(self._buffer) and not self._more()

    def line(self) -> bytes:
        """The next line with its end; at most 64 KiB of it."""
        start = self._at
        while (end := self._buffer.find(b"\n", start)) < 0 and len(self._buffer) - self._at < MAX_LINE_BYTES:
            start = len(self._buffer)
            before = self._at
            if not self._more():
                break
            start -= before - self._at
        stop = end + 1 if end >= 0 else min(len(self._buffer), self._at + MAX_LINE_BYTES)
        data, self._at = self._buffer[self._at : stop], stop
        return data

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer where the stream ends."""
        parts, left = [], size
        while left:
            if self._at >= len(self._buffer) and not self._more():
                break
            part = self._buffer[self._at : self._at + left]
            parts.append(part)
            self._at += len(part)
            left -= len(part)
        return b"".join(parts)

    def skip(self, size: int) -> int:
        """Leave bytes out; return how many there were."""
        left = size
        while left:
            here = min(left, len(self._buffer) - self._at)
            self._at += here
            left -= here
            if left and not self._more():
                break
        return size - left

    def begins_with(self, data: bytes) -> bool:
        """Whether these are the next bytes; nothing is taken."""
        while len(self._buffer) - self._at < len(data) and self._more():
            pass
        return self._buffer.startswith(data, self._at)

    def resync(self) -> bool:
        """Go to the next line that begins like a record; say whether there is one."""
        self._at += 1
        while True:
            found = self._buffer.find(b"\n" + RECORD, max(0, self._at - 1))
            if found >= 0:
                self._at = found + 1
                return True
            self._at = max(self._at, len(self._buffer) - len(RECORD))
            if not self._more():
                self._at = len(self._buffer)
                return False

    def _more(self) -> bool:
        """Append the next block to what is left of the buffer, keeping a byte before it; say whether there was one."""
        block = b"" if self._ended else self._block()
        self._ended = self._ended or not block
        if not block:
            return False
        keep = max(0, self._at - 1)
        self._base += keep
        self._buffer = self._buffer[keep:] + block
        self._at -= keep
        return True

    def stored(self, offset: int, size: int) -> bytes:
        """Bytes of the file as they are stored; none where it was unpacked on the way."""
        if self._unpacked_stream or not self._raw.seekable():
            return b""
        here = self._raw.tell()
        self._raw.seek(offset)
        data = self._raw.read(size)
        self._raw.seek(here)
        return data

    def rest(self) -> bytes:
        """What is in memory and was not taken."""
        return self._buffer[self._at :]

    def _block(self) -> bytes:
        if not self._unpacked_stream:
            return self._raw.read(BLOCK_BYTES)
        try:
            return self._raw.read(BLOCK_BYTES)
        except (OSError, EOFError, lzma.LZMAError, ValueError):
            self._ended = True  # what follows cannot be unpacked
            raise Damage("the packing is damaged or ends too early") from None


class GzipStream(PlainStream):
    """An archive of gzip members, mostly one for each record."""

    def __init__(self, raw: IO[bytes], start: int = 0) -> None:
        super().__init__(raw)
        if start:
            raw.seek(start)
        self._packed = b""  # read and not unpacked yet
        self._next = start  # offset of its first byte in the file
        self._inflate: zlib._Decompress | None = None
        self._marks: deque[tuple[int, int]] = deque([(0, start)])  # (position, offset) where members begin
        self._total = 0  # unpacked bytes so far
        self._held = b""  # the beginning of a record that cut another one off

    def raw_position(self) -> int:
        """Offset of the member that is being unpacked."""
        return self._next

    def place(self) -> tuple[int, int]:
        """(offset of the member, how far into it) of the next byte."""
        while len(self._marks) > 1 and self._marks[1][0] <= self.position:
            self._marks.popleft()
        position, offset = self._marks[0]
        return offset, self.position - position

    def _block(self) -> bytes:
        if self._held:
            data, self._held = self._held, b""
            return data
        while True:
            if not self._packed:
                self._packed = self._raw.read(BLOCK_BYTES)
            if self._inflate is None and not self._begin_member():
                return b""
            assert self._inflate is not None
            data = self._unpacked()
            if self._inflate.eof:
                self._inflate = None
            if data:
                first, self._total = self._total == self._marks[-1][0], self._total + len(data)
                if first and self.within_record and data.startswith(RECORD):
                    self._held = data
                    raise CutOff
                return data

    def _more(self) -> bool:
        """As everywhere; where a record is cut off, what is left of it goes, and the next one comes."""
        try:
            return super()._more()
        except CutOff:
            self.within_record = False
            self._base, self._buffer, self._at = self._total - len(self._held), b"", 0
            raise

    def _begin_member(self) -> bool:
        """Start on the next member; zeros after one are padding."""
        while self._packed and not self._packed.strip(b"\0"):
            self._next += len(self._packed)
            self._packed = self._raw.read(BLOCK_BYTES)
        if not self._packed:
            return False
        padding = len(self._packed) - len(self._packed.lstrip(b"\0"))
        self._packed, self._next = self._packed[padding:], self._next + padding
        if len(self._packed) < len(GZIP):
            self._packed += self._raw.read(BLOCK_BYTES)
        self._marks.append((self._total, self._next))
        if not self._packed.startswith(GZIP):
            raise Damage("no gzip member where one should begin")
        self._inflate = zlib.decompressobj(31)
        return True

    def _unpacked(self) -> bytes:
        inflate = self._inflate
        assert inflate is not None
        before = len(self._packed)
        try:
            data = inflate.decompress(self._packed, BLOCK_BYTES * 16)
        except zlib.error:
            raise Damage("a gzip member is damaged") from None
        self._packed = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
        self._next += before - len(self._packed)
        if not data and not inflate.eof and not self._packed:
            self._packed = self._raw.read(BLOCK_BYTES)
            if not self._packed:
                self._inflate = None
                raise Damage("the file ends within a gzip member")
        return data

    def resync(self) -> bool:
        """Go to the next gzip member that begins like a record; say whether there is one."""
        self.within_record = False
        if not self._raw.seekable():
            return False
        at = self.place()[0] + 1
        while (at := self._find_member(at)) >= 0:
            self._raw.seek(at)
            self._packed, self._next, self._inflate, self._held, self._ended = b"", at, None, b"", False
            self._base = self._total
            self._buffer, self._at = b"", 0
            self._marks = deque([(self._total, at)])
            try:
                if self.begins_with(RECORD):
                    return True
            except Damage:
                pass
            at += 1
        self._packed, self._buffer, self._at, self._inflate, self._ended = b"", b"", 0, None, True
        return False

    def _find_member(self, start: int) -> int:
        self._raw.seek(start)
        position, tail = start, b""
        while block := self._raw.read(BLOCK_BYTES):
            data = tail + block
            found = data.find(GZIP)
            if found >= 0:
                return position - len(tail) + found
            position += len(block)
            tail = data[-2:]
        return -1


def members_from(raw: IO[bytes], start: int, stop: int) -> Iterator[int]:
    """Offsets from `start` to `stop` where a gzip member seems to begin that holds a record, is whole, and has a neighbour."""
    for at in _magics(raw, start, stop):
        raw.seek(at)
        inflate, begins, packed = zlib.decompressobj(31), b"", b""
        try:
            while not inflate.eof and (packed := inflate.unconsumed_tail or raw.read(BLOCK_BYTES)):
                data = inflate.decompress(packed, BLOCK_BYTES * 16)
                begins = begins or data[: len(RECORD)]
                if begins and begins != RECORD:
                    break
        except zlib.error:
            continue
        follows = (inflate.unused_data or raw.read(len(GZIP)))[: len(GZIP)]
        if inflate.eof and begins == RECORD and GZIP.startswith(follows):
            yield at


def _magics(raw: IO[bytes], start: int, stop: int) -> Iterator[int]:
    """Offsets of the bytes that begin a gzip member."""
    at = start
    while at < stop:
        raw.seek(at)
        data = raw.read(min(BLOCK_BYTES * 4, stop - at) + len(GZIP) - 1)
        found = data.find(GZIP)
        if found >= 0 and at + found < stop:
            yield at + found
            at += found + 1
        else:
            at += BLOCK_BYTES * 4
