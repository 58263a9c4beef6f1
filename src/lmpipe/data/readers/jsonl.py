"""JSON lines: one object per line."""

from __future__ import annotations

import json
from typing import IO

from lmpipe.data.readers.config import JsonlSource
from lmpipe.data.readers.lines import Line, Tick, read_lines
from lmpipe.data.readers.record import INVALID_TEXT, TOO_LONG, Record, Records, decode, record_of_row

INVALID_JSON = "invalid JSON"
NO_OBJECT = "not a JSON object"


def read_jsonl(config: JsonlSource, stream: IO[bytes], tick: Tick) -> Records:
    """The documents of one file; empty lines are no records.

    Args:
        config: the source.
        stream: decompressed bytes.
        tick: told bytes read.
    """
    number = 0
    for line in read_lines(stream, config.max_record_bytes, bare_cr=False):
        if line.data is not None and line.data.isspace():
            continue
        yield _record(config, number, line)
        number += 1
        tick(len(line.data or b""))


def _record(config: JsonlSource, number: int, line: Line) -> Record:
    if line.data is None:
        return Record(str(number), error=TOO_LONG, offset=line.offset)
    text, invalid = decode(line.data, "utf-8", config.errors)
    if invalid is not None:
        return Record(str(number), error=INVALID_TEXT.format(encoding="utf-8"), offset=line.offset + invalid)
    try:
        value = json.loads(text)
    except ValueError as error:
        position = error.pos if isinstance(error, json.JSONDecodeError) else 0
        return Record(str(number), error=INVALID_JSON, offset=line.offset + len(text[:position].encode()))
    except RecursionError:  # nested deeper than any data is
        return Record(str(number), error=INVALID_JSON, offset=line.offset)
    if not isinstance(value, dict):
        return Record(str(number), error=NO_OBJECT, offset=line.offset)
    return record_of_row(config, number, value, offset=line.offset)
