"""JSON lines: one object per line."""

from __future__ import annotations

import json
from typing import IO, Any

from lmpipe.data.readers.config import JsonlSource
from lmpipe.data.readers.lines import Line, Tick, read_lines
from lmpipe.data.readers.record import INVALID_TEXT, TOO_LONG, Record, Records, decode, record_of_row

INVALID_JSON = "invalid JSON"
NO_OBJECT = "not a JSON object"
DUPLICATE_KEY = "a JSON object has one key twice"


def read_jsonl(config: JsonlSource, stream: IO[bytes], tick: Tick, *, start: int = 0, first: int = 0) -> Records:
    """The documents of one file, or of a slice of it; empty lines are no records.

    Args:
        config: the source.
        stream: decompressed bytes.
        tick: told bytes read.
        start: where in the file the stream begins.
        first: number of the first record.
    """
    number = first
    for line in read_lines(stream, config.max_record_bytes, bare_cr=False, start=start):
        if line.data is not None and line.data.isspace():
            continue
        yield _record(config, number, line)
        number += 1
        tick(len(line.data or b""))


def _record(config: JsonlSource, number: int, line: Line) -> Record:
    if line.data is None:
        return Record(str(number), error=TOO_LONG, offset=line.offset, raw=line.head)
    text, invalid = decode(line.data, "utf-8", config.errors)
    if invalid is not None:
        error, offset = INVALID_TEXT.format(encoding="utf-8"), line.offset + invalid
        return Record(str(number), error=error, offset=offset, raw=line.data)
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except _Twice:
        return Record(str(number), error=DUPLICATE_KEY, offset=line.offset, raw=line.data)
    except ValueError as error:
        position = error.pos if isinstance(error, json.JSONDecodeError) else 0
        offset = line.offset + len(text[:position].encode())
        return Record(str(number), error=INVALID_JSON, offset=offset, raw=line.data)
    except RecursionError:  # nested deeper than any data is
        return Record(str(number), error=INVALID_JSON, offset=line.offset, raw=line.data)
    if not isinstance(value, dict):
        return Record(str(number), error=NO_OBJECT, offset=line.offset, raw=line.data)
    return record_of_row(config, number, value, offset=line.offset)


class _Twice(ValueError):
    """An object has one key twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which no key stands twice: which of two values was meant, nobody can say (RFC 8259, section 4)."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _Twice
    return value
