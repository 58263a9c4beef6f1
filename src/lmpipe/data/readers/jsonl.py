"""JSON lines: one object per line."""

from __future__ import annotations

import json
from typing import IO, Any

from lmpipe.base.nearest import nearest
from lmpipe.data.readers.config import JsonlSource
from lmpipe.data.readers.lines import Line, Tick, in_lines, read_lines
from lmpipe.data.readers.opening import damaged
from lmpipe.data.readers.record import (
    INVALID_TEXT,
    TOO_LONG,
    Record,
    Records,
    columns_asked,
    decode,
    no_such_column,
    record_of_row,
)

INVALID_JSON = "invalid JSON"
NO_OBJECT = "not a JSON object"
DUPLICATE_KEY = "a JSON object has one key twice"
WATCHED = 1000
"""Records at a file's beginning whose keys are compared with those that the source names."""
ALIKE = 0.8
"""How similar a key must be to one that is never seen, to be what was meant: `color`, `colour` are .91, `text`, `txt` .86."""


def read_jsonl(config: JsonlSource, stream: IO[bytes], name: str, tick: Tick, *, start: int = 0, first: int = 0) -> Records:
    """The documents of one file, or of a slice of it; empty lines are no records.

    Args:
        config: the source.
        stream: decompressed bytes.
        name: of the file, for messages.
        tick: told bytes read.
        start: where in the file the stream begins.
        first: number of the first record.

    Raises:
        SourceError: when no record at the beginning has a key that the source names, and one is spelled almost so, or when
            UTF-16 or UTF-32 is broken.
    """
    try:
        yield from _records(config, *in_lines(config, stream), name, tick, start, first)
    except UnicodeDecodeError as error:  # of a wide encoding: where the next record begins, nobody knows
        raise damaged(name, name, f"bytes that are no {config.encoding}") from error


def _records(config: JsonlSource, stream: IO[bytes], encoding: str, name: str, tick: Tick, start: int, first: int) -> Records:
    keys = _Keys(config, name)
    number = first
    for line in read_lines(stream, config.max_record_bytes, bare_cr=False, start=start):
        if line.data is not None and line.data.isspace():
            continue
        yield _record(config, number, line, encoding, keys)
        number += 1
        tick(len(line.data or b""))
        if start == 0 and number == WATCHED:
            keys.check()
    if start == 0 and number < WATCHED:
        keys.check()


class _Keys:
    """The keys that records have. One may be rare, so that a missing one is no error; a misspelled one is."""

    def __init__(self, config: JsonlSource, name: str) -> None:
        self._asked, self._name = columns_asked(config), name
        self._seen: dict[str, None] = {}

    def see(self, row: dict[str, Any]) -> None:
        """Remember those of a record."""
        self._seen.update(dict.fromkeys(row))

    def check(self) -> None:
        """Refuse a key that was never seen where one was that is almost the same."""
        others = [key for key in self._seen if key not in self._asked]
        for key in self._asked:
            if key not in self._seen and nearest(key, others, ALIKE):
                raise no_such_column(key, self._seen, self._name)


def _record(config: JsonlSource, number: int, line: Line, encoding: str, keys: _Keys) -> Record:
    if line.data is None:
        return Record(str(number), error=TOO_LONG, offset=line.offset, raw=line.head)
    text, invalid = decode(line.data, encoding, config.errors)
    if invalid is not None:
        error, offset = INVALID_TEXT.format(encoding=encoding), line.offset + invalid
        return Record(str(number), error=error, offset=offset, raw=line.data)
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except _Twice:
        return Record(str(number), error=DUPLICATE_KEY, offset=line.offset, raw=line.data)
    except ValueError as error:
        position = error.pos if isinstance(error, json.JSONDecodeError) else 0
        offset = line.offset + len(text[:position].encode(encoding, "replace"))
        return Record(str(number), error=INVALID_JSON, offset=offset, raw=line.data)
    except RecursionError:  # nested deeper than any data is
        return Record(str(number), error=INVALID_JSON, offset=line.offset, raw=line.data)
    if not isinstance(value, dict):
        return Record(str(number), error=NO_OBJECT, offset=line.offset, raw=line.data)
    if number < WATCHED:
        keys.see(value)
    return record_of_row(config, number, value, offset=line.offset)


class _Twice(ValueError):
    """An object has one key twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which no key stands twice: which of two values was meant, nobody can say (RFC 8259, section 4)."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _Twice
    return value
