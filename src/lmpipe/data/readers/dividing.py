"""A big file as slices that are read apart: by row group, by byte range, by record. Never one file, one task.

    a.jsonl                 |0 ........ |33 554 432 ........ |67 108 864 .....|     byte ranges that end at a record's end
    a.jsonl.gz, s3://...    unpacked or fetched once, into pieces: piece-00000.zst, piece-00001.zst, ...
    a.parquet               row groups 0-3, 4-7, ...
    a.warc.gz               whole members; see `warc_slices`

Promises: the documents of the slices, one after another, are those of the whole file, with the same ids. Where to cut depends
on the bytes alone. What cannot be cut safely (one long document, CSV whose quotes say nothing certain, UTF-16) stays in one
slice.

A scan for line ends runs at about the speed of the disk, a tenth of what reading the records takes. Does not know documents.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json, write_json
from lmpipe.data.readers.config import CsvSource, HubSource, JsonlSource, ParquetSource, SourceConfig, TextSource, WarcSource
from lmpipe.data.readers.csv import delimiter_of
from lmpipe.data.readers.lines import BLOCK_BYTES, BOM
from lmpipe.data.readers.opening import is_compressed, is_url, open_decompressed, open_raw, seekable
from lmpipe.data.readers.parquet import arrow_errors
from lmpipe.data.tasks import Tick

SLICES = "slices.json"
BLANK_LINES = re.compile(rb"(?m)^[ \t\r\v\f]*\n")
MAX_OPEN_ROW_BYTES = 16 << 20
"""A CSV row that long is taken for a quote that never closes."""


@dataclass(frozen=True)
class Slice:
    """A whole file, or a run of its records."""

    start: int = 0
    """First byte, or first row group."""
    stop: int | None = None
    """Byte, or row group, after the last; None: to the end."""
    first: int = 0
    """Number of the first record."""
    header: tuple[str, ...] | None = None
    """Of a CSV file, for slices that do not begin with it."""
    piece: str | None = None
    """Path of the slice's own bytes, where they were unpacked."""
    guessed: bool = False
    """Whether it is only likely that a record begins at `stop`: whoever reads the slice finds out."""


WHOLE = Slice()


class Chunk(NamedTuple):
    """Some bytes of a stream."""

    data: bytes
    closed: bool
    """Whether a record ends with them."""
    records: int
    """How many records end in them."""


class WrongCutError(SourceError):
    """A slice does not end where it should: the file has to be divided again, record by record."""


class NotDivisible(Exception):
    """The bytes do not say where a record ends."""


def can_be_divided(config: SourceConfig) -> bool:
    """Whether files of a source consist of records that can be found without reading all before them."""
    if isinstance(config, TextSource):
        return config.document == "line" and not config.wide
    if isinstance(config, JsonlSource):
        return not config.wide
    if isinstance(config, CsvSource) and (config.columns or codecs.lookup(config.encoding).name != "utf-8"):
        return False  # a first line that is no header: rows would be numbered otherwise; quotes are found by their bytes
    return isinstance(config, CsvSource | ParquetSource | WarcSource)


def slice_bytes(config: SourceConfig, part_bytes: int) -> int:
    """How much of a file one task reads. Packed pages unfold to five times their size, and extraction takes its time."""
    return max(1, part_bytes // 4) if isinstance(config, WarcSource) else part_bytes


def divide(config: SourceConfig, name: str, url: str, size: int, folder: Path, tick: Tick, *, guess: bool = True) -> None:
    """Find the slices of one file, of about `size` bytes each, and write them to `folder`.

    Args:
        config: the file's source; one that can be divided.
        name: of the file.
        url: where it is opened.
        size: bytes of one slice.
        folder: gets `slices.json`, and pieces where the file cannot be read from its middle.
        tick: told bytes read.
        guess: whether slices of an archive may be found by looking at a few places of it.
    """
    write_json(folder / SLICES, [asdict(part) for part in _slices(config, name, url, size, folder, tick, guess)])


def slices_in(folder: Path) -> list[Slice]:
    """What `divide` found."""
    found = [Slice(**{**value, "header": value["header"] and tuple(value["header"])}) for value in read_json(folder / SLICES)]
    return [Slice(**{**asdict(part), "piece": part.piece and str(folder / part.piece)}) for part in found]


def _slices(config: SourceConfig, name: str, url: str, size: int, folder: Path, tick: Tick, guess: bool) -> list[Slice]:
    allowed = not isinstance(config, HubSource) and config.allow_private_addresses
    if isinstance(config, ParquetSource):
        return [WHOLE] if is_compressed(url) else _row_groups(name, url, size, allowed)
    if isinstance(config, WarcSource):
        from lmpipe.data.readers.warc import warc_slices

        return warc_slices(url, size, folder, tick, allow_private=allowed, guess=guess)
    sink = Pieces(folder) if is_compressed(url) or is_url(url) else None
    try:
        with open_decompressed(url, allow_private=allowed) as stream:
            return list(_cut(config, name, stream, size, sink, tick))
    except NotDivisible:
        if sink is not None:
            sink.discard()
        return [WHOLE]


def _row_groups(name: str, url: str, size: int, allow_private: bool) -> list[Slice]:
    with (
        arrow_errors(name, url),
        open_raw(url, allow_private=allow_private) as stream,
        pq.ParquetFile(seekable(stream, name, url), pre_buffer=False) as file,
    ):
        metadata = file.metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        found, start, first, filled, rows = [], 0, 0, 0, 0
        for number, group in enumerate(groups):
            filled += sum(group.column(column).total_compressed_size for column in range(group.num_columns))
            rows += group.num_rows
            if filled >= size or number == len(groups) - 1:
                found.append(Slice(start, number + 1, first))
                start, first, filled = number + 1, rows, 0
        return found or [WHOLE]


def _cut(config: SourceConfig, name: str, stream: IO[bytes], size: int, sink: Pieces | None, tick: Tick) -> Iterator[Slice]:
    header, chunks = _chunks(config, name, stream, min(BLOCK_BYTES, size))
    start = first = position = number = 0

    def close() -> Slice:
        piece = sink.close() if sink is not None else None
        return Slice(start, position, first, header if start else None, piece)

    for chunk in chunks:
        tick(len(chunk.data))
        if sink is not None:
            sink.write(chunk.data)
        position += len(chunk.data)
        number += chunk.records
        if chunk.closed and position - start >= size:
            yield close()
            start, first = position, number
    if position > start or not start:
        yield close()


def _chunks(
    config: SourceConfig, name: str, stream: IO[bytes], block_bytes: int
) -> tuple[tuple[str, ...] | None, Iterator[Chunk]]:
    match config:
        case JsonlSource():
            return None, json_chunks(stream, block_bytes)
        case CsvSource():
            return csv_chunks(stream, delimiter_of(config, name), block_bytes)
        case _:
            return None, line_chunks(stream, block_bytes)


def line_chunks(stream: IO[bytes], block_bytes: int) -> Iterator[Chunk]:
    """Bytes up to a line feed, and the rest of a block; every line is a record, ended by LF, CR LF or CR."""
    after_cr = False
    while block := stream.read(block_bytes):
        cut = block.rfind(b"\n") + 1
        for data in (block[:cut], block[cut:]):
            if data:
                ends = data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n") - (after_cr and data[:1] == b"\n")
                after_cr = data.endswith(b"\r")
                yield Chunk(data, data.endswith(b"\n"), ends)


def json_chunks(stream: IO[bytes], block_bytes: int) -> Iterator[Chunk]:
    """The same for lines of which empty ones are no records."""
    open_line = written = False  # whether a line goes on, and whether something stands in it already
    beginning = True
    while block := stream.read(block_bytes):
        mark = len(BOM) if beginning and block.startswith(BOM) else 0
        beginning = False
        cut = block.rfind(b"\n") + 1
        if cut:
            head = block.index(b"\n") + 1 if open_line else mark
            records = int(open_line and (written or not block[:head].isspace()))
            closed = block[head:cut]
            records += closed.count(b"\n") - len(BLANK_LINES.findall(closed))
            yield Chunk(block[:cut], True, records)
            open_line = written = False
        if rest := block[cut:]:
            open_line, written = True, written or not rest.isspace()
            yield Chunk(rest, False, 0)


def csv_chunks(stream: IO[bytes], delimiter: str, block_bytes: int) -> tuple[tuple[str, ...] | None, Iterator[Chunk]]:
    """The header, and bytes up to a line end outside quotes. Empty rows and the header are no records.

    Raises:
        NotDivisible: where a quote stands that neither opens nor closes a field: parsers differ on what it means.
    """
    block = stream.read(block_bytes)
    if b"\n" not in block:
        raise NotDivisible
    header = next(
        csv.reader(io.StringIO(block.removeprefix(BOM).decode("utf-8", "replace"), newline=""), delimiter=delimiter), []
    )
    return tuple(header), _csv_chunks(block, stream, delimiter, block_bytes)


def _csv_chunks(block: bytes, stream: IO[bytes], delimiter: str, block_bytes: int) -> Iterator[Chunk]:
    carry, headers = b"", 1
    while block:
        data = carry + block
        mark = len(BOM) if not carry and headers and data.startswith(BOM) else 0
        ends, blank = _row_ends(data, mark, delimiter.encode())
        if len(ends):
            cut = int(ends[-1]) + 1
            yield Chunk(data[:cut], True, len(ends) - blank - headers)
            headers, carry = 0, data[cut:]
        else:
            carry = data
        if len(carry) > MAX_OPEN_ROW_BYTES:
            raise NotDivisible
        block = stream.read(block_bytes)
    if carry:
        yield Chunk(carry, False, 0)


def _row_ends(data: bytes, mark: int, delimiter: bytes) -> tuple[Any, int]:
    """Positions of the line feeds that end a row, and how many rows are empty. `data` begins with a row, after `mark` bytes."""
    codes = np.frombuffer(data, np.uint8)
    feeds = np.flatnonzero(codes == 10)
    if b"\r" in data.removesuffix(b"\r").replace(b"\r\n", b"") or len(delimiter) != 1:
        raise NotDivisible  # old line ends: not worth a second rule
    quotes = np.flatnonzero(codes == 34)
    if len(quotes):
        feeds = feeds[np.searchsorted(quotes, feeds) % 2 == 0]
        _check_quotes(codes, quotes, mark, delimiter, bool(len(feeds)) and int(feeds[-1]))
    starts = np.concatenate([[mark], feeds[:-1] + 1]) if len(feeds) else feeds
    lengths = feeds - starts
    blank = (lengths == 0) | ((lengths == 1) & (codes[starts] == 13)) if len(feeds) else lengths
    return feeds, int(np.count_nonzero(blank))


def _check_quotes(codes: Any, quotes: Any, mark: int, delimiter: bytes, last: int) -> None:
    """Every quote up to the last row's end opens a field after a border, closes one before a border, or is doubled."""
    quotes = quotes[quotes <= last]
    borders = [10, 13, 34, delimiter[0]]
    opening, closing = quotes[0::2], quotes[1::2]
    before = codes[np.maximum(opening - 1, 0)]
    opens = np.isin(before, borders) | (opening <= mark)
    closes = np.isin(codes[np.minimum(closing + 1, len(codes) - 1)], borders)
    if not (opens.all() and closes.all()):
        raise NotDivisible


class Pieces:
    """Writes the slices of a stream to files of their own, lightly packed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self._stream: Any = None

    def write(self, data: bytes) -> None:
        """Append to the piece that is open."""
        if self._stream is None:
            self._stream = pa.CompressedOutputStream(str(self.folder / self._name()), "zstd")
        self._stream.write(data)

    def close(self) -> str:
        """End a piece; return its name in the folder."""
        if self._stream is None:
            self.write(b"")
        self._stream.close()
        name, self._stream = self._name(), None
        self.count += 1
        return name

    def discard(self) -> None:
        """Take all pieces away again."""
        self.close()
        for piece in self.folder.glob("piece-*.zst"):
            piece.unlink()

    def _name(self) -> str:
        return f"piece-{self.count:05d}.zst"


def bounded(stream: IO[bytes], part: Slice) -> Any:
    """The bytes of a slice of a file that can be read from its middle."""
    stream.seek(part.start)
    return stream if part.stop is None else _Bounded(stream, part.stop - part.start)


class _Bounded(io.RawIOBase):
    """The next `left` bytes of a stream."""

    def __init__(self, stream: IO[bytes], left: int) -> None:
        self._stream, self._left = stream, left

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, none at the end."""
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data
