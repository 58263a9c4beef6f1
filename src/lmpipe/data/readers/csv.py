"""Comma- or tab-separated values, with a header line or with columns that the source names."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import IO

from lmpipe.base.errors import SourceError
from lmpipe.data.readers.config import CsvSource
from lmpipe.data.readers.lines import Tick, in_lines, read_lines
from lmpipe.data.readers.opening import damaged, without_compression
from lmpipe.data.readers.record import INVALID_TEXT, TOO_LONG, Record, Records, check_columns, decode, record_of_row

BAD_ROW = "row is not valid CSV"
COLUMN_COUNT = "row has another number of columns than the header"


def read_csv(
    config: CsvSource,
    stream: IO[bytes],
    name: str,
    tick: Tick,
    *,
    start: int = 0,
    first: int = 0,
    header: Sequence[str] | None = None,
) -> Records:
    """The documents of one file, or of a slice of it; empty lines are no records.

    Args:
        config: the source.
        stream: decompressed bytes.
        name: of the file: its suffix decides the delimiter where the source does not.
        tick: told bytes read.
        start: where in the file the stream begins.
        first: number of the first record.
        header: the names of the columns, where the stream does not begin with them.

    Raises:
        SourceError: when the header is missing or lacks a column that the source names, or when UTF-16 or UTF-32 is broken.
    """
    csv.field_size_limit(config.max_record_bytes)  # also ends a quoted field that never closes
    feed = _Feed(config, *in_lines(config, stream), tick, start)
    try:
        yield from _rows(config, feed, name, first, header)
    except UnicodeDecodeError as error:  # of a wide encoding: where the next row begins, nobody knows
        raise damaged(name, name, f"bytes that are no {config.encoding}") from error


def _rows(config: CsvSource, feed: _Feed, name: str, first: int, header: Sequence[str] | None) -> Records:
    rows = csv.reader(feed, delimiter=delimiter_of(config, name))
    if config.columns:
        columns = list(config.columns)
        check_columns(config, columns, name)
    else:
        columns = list(header) if header is not None else _header(rows, config, name)
    feed.take()
    number = first
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            row = None
        trouble, offset, raw = feed.take()
        if row == [] and trouble is None:
            continue
        yield _record(config, number, columns, row, trouble, offset, raw)
        number += 1


def delimiter_of(config: CsvSource, name: str) -> str:
    """What separates the columns of a file."""
    return config.delimiter or ("\t" if without_compression(name).endswith(".tsv") else ",")


class _Feed:
    """Decoded lines for the parser, remembering what was wrong with those of the current row."""

    def __init__(self, config: CsvSource, stream: IO[bytes], encoding: str, tick: Tick, start: int) -> None:
        self._errors, self._encoding, self._tick = config.errors, encoding, tick
        self._lines = read_lines(stream, config.max_record_bytes, bare_cr=True, start=start)
        self._trouble: tuple[str, int] | None = None
        self._start: int | None = None
        self._raw: list[bytes] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if self._start is None:
            self._start = line.offset
        self._raw.append(line.head if line.data is None else line.data)
        if line.data is None:
            self._trouble = self._trouble or (TOO_LONG, line.offset)
            return "\n"
        self._tick(len(line.data))
        text, invalid = decode(line.data, self._encoding, self._errors)
        if invalid is not None:
            self._trouble = self._trouble or (INVALID_TEXT.format(encoding=self._encoding), line.offset + invalid)
            return line.data.decode(self._encoding, "replace")  # keeps quotes and delimiters in their places
        return text

    def take(self) -> tuple[str | None, int | None, list[bytes]]:
        """(what was wrong with the row, where, its lines) and forget."""
        trouble, start, raw = self._trouble, self._start, self._raw
        self._trouble, self._start, self._raw = None, None, []
        return (trouble[0], trouble[1], raw) if trouble else (None, start, raw)


def _header(rows: Iterator[list[str]], config: CsvSource, name: str) -> list[str]:
    try:
        header = next(rows, [])
    except csv.Error:
        header = []
    if not any(column.strip() for column in header):
        raise SourceError(
            f"'{name}' has no header line",
            where=name,
            expected="the names of the columns in its first line",
            fix="name the columns (`columns: [text, label]`), add a header, or leave the file out with `exclude`",
        )
    check_columns(config, header, name)
    return header


def _record(
    config: CsvSource,
    number: int,
    header: list[str],
    row: list[str] | None,
    trouble: str | None,
    offset: int | None,
    raw: list[bytes],
) -> Record:
    if trouble is not None or row is None:
        return Record(str(number), error=trouble or BAD_ROW, offset=offset, raw=b"".join(raw))
    if len(row) != len(header):
        return Record(str(number), error=COLUMN_COUNT, offset=offset, raw=b"".join(raw))
    return record_of_row(config, number, dict(zip(header, row, strict=True)), offset=offset)
