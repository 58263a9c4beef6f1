"""What every reader gives: records, each with its text or with the reason why it has none."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lmpipe.base.errors import SourceError
from lmpipe.base.nearest import did_you_mean
from lmpipe.data.readers.config import RecordSource
from lmpipe.data.readers.lines import KEPT_BYTES

SURROGATE = re.compile("[\ud800-\udfff]")
INVALID_TEXT = "invalid {encoding}"
TOO_LONG = "record longer than max_record_bytes"
NO_TEXT = "no text"
NOT_A_STRING = "text is not a string"
LONE_SURROGATE = "lone surrogate"


class ReadableFile(Protocol):
    """What a reader needs to know of a raw file."""

    @property
    def name(self) -> str:
        """Free of machine paths."""

    @property
    def url(self) -> str:
        """Where it is opened."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a raw file. Exactly one of `text`, `error` and `dropped` is set."""

    number: str
    """Its number in the file, counted from 0, `~piece` added where it was cut; or the id that the file gives it."""
    text: str | None = None
    error: str | None = None
    """Why there is no text: one of few fixed sentences, so that they can be counted."""
    offset: int | None = None
    """Where in the decompressed file the trouble is, in bytes; in a WARC file packed by record, where its record begins."""
    licence: str | None = None
    """Given by the record itself."""
    language: str | None = None
    meta: Mapping[str, Any] | None = None
    dropped: str | None = None
    """Why a record that can be read is no document: again one of few fixed sentences."""
    raw: bytes | None = None
    """Of a failed record: its bytes, or, where `cut`, their beginning."""
    cut: bool = False
    image: bytes | None = None
    audio: bytes | None = None


def decode(data: bytes, encoding: str, errors: str) -> tuple[str, int | None]:
    """(text, position of the first undecodable byte or None); with `errors="replace"`, such bytes become U+FFFD."""
    try:
        return data.decode(encoding), None
    except UnicodeDecodeError as error:
        if errors == "replace":
            return data.decode(encoding, "replace"), None
        return "", error.start


def record_of_row(config: RecordSource, number: int, row: Mapping[str, Any], offset: int | None = None) -> Record:
    """A record from the columns of a row."""
    name = str(number)
    if config.id_column is not None and row.get(config.id_column) not in (None, ""):
        name = str(row[config.id_column])
    text = row.get(config.text_column)
    if text is None:
        return Record(name, error=NO_TEXT, offset=offset, raw=_row_bytes(row))
    if isinstance(text, list) and text and all(isinstance(message, dict) for message in text):
        text = json.dumps(text, ensure_ascii=False)  # a conversation
    if not isinstance(text, str):
        return Record(name, error=NOT_A_STRING, offset=offset, raw=_row_bytes(row))
    if 4 * len(text) > config.max_record_bytes and len(text.encode("utf-8", "surrogatepass")) > config.max_record_bytes:
        return Record(name, error=TOO_LONG, offset=offset, raw=text_bytes(text[:KEPT_BYTES]))
    return Record(
        name,
        text=text,
        offset=offset,
        licence=_string(row, config.licence_column),
        language=_string(row, config.language_column),
        meta={column: row[column] for column in config.meta_columns if row.get(column) is not None} or None,
    )


def _row_bytes(row: Mapping[str, Any]) -> bytes:
    """A row of which no text can be had, as JSON."""
    return meta_json(row).encode()


def text_bytes(text: str) -> bytes:
    """Text as UTF-8, lone surrogates as they would be spelled."""
    return text.encode("utf-8", "surrogatepass")


def _string(row: Mapping[str, Any], column: str | None) -> str | None:
    value = row.get(column) if column is not None else None
    return None if value is None else str(value) or None


def without_surrogates(record: Record, errors: str) -> Record:
    """A record whose text UTF-8 can spell: a lone surrogate (as JSON's \\ud800 gives it) fails it or becomes U+FFFD."""
    if record.text is None or record.text.isascii() or not SURROGATE.search(record.text):
        return record
    if errors == "replace":
        return replace(record, text=SURROGATE.sub("\ufffd", record.text))
    raw = text_bytes(record.text[:KEPT_BYTES])
    return Record(record.number, error=LONE_SURROGATE, offset=record.offset, raw=raw)


def check_columns(config: RecordSource, columns: list[str], name: str) -> None:
    """Refuse a file that lacks a column which the recipe names.

    Raises:
        SourceError: naming the column and those that are there.
    """
    missing = [column for column in columns_asked(config) if column not in columns]
    if missing:
        raise no_such_column(missing[0], columns, name)


def columns_asked(config: RecordSource) -> list[str]:
    """The columns that a source names, each once."""
    named = (config.text_column, config.id_column, config.licence_column, config.language_column, *config.meta_columns)
    return list(dict.fromkeys(column for column in named if column is not None))


def no_such_column(missing: str, columns: Collection[str], name: str) -> SourceError:
    """The error for a column that a recipe names and a file lacks."""
    return SourceError(
        f"'{name}' has no column '{missing}'{did_you_mean(missing, columns)}",
        where=name,
        expected="one of its columns: " + ", ".join(sorted(columns)[:30]),
        fix="correct text_column, id_column, licence_column, language_column or meta_columns of the source, or the column that "
        "the corpus `holds`",
    )


def meta_json(meta: Mapping[str, Any] | None) -> str:
    """Metadata as JSON; what JSON cannot spell becomes text."""
    if not meta:
        return "{}"
    spelled = json.dumps(meta, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return SURROGATE.sub("\ufffd", spelled)


Records = Iterator[Record]
