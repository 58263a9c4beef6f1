"""Parquet files, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from lmpipe.data.readers.config import ParquetSource
from lmpipe.data.readers.lines import Tick
from lmpipe.data.readers.opening import damaged, is_compressed, is_url
from lmpipe.data.readers.record import INVALID_TEXT, Record, Records, check_columns, columns_asked, decode, record_of_row

BATCH_BYTES = 4 << 20
BATCH_ROWS = 1024


def read_parquet(
    config: ParquetSource,
    stream: IO[bytes],
    name: str,
    url: str,
    tick: Tick,
    *,
    groups: range | None = None,
    first: int = 0,
) -> Records:
    """The documents of one file, or of some of its row groups. Memory follows the file's pages, not its row groups.

    Args:
        config: the source.
        stream: the file's bytes; must be able to seek.
        name: of the file, for messages.
        url: of the file, for messages.
        tick: told bytes read.
        groups: the row groups that are read; all by default.
        first: number of the first record.

    Raises:
        SourceError: when it is no Parquet file, a truncated one, or lacks a column that the source names.
    """
    with (
        arrow_errors(name, url),
        pq.ParquetFile(
            stream if is_url(url) or is_compressed(url) else Path(url), buffer_size=1 << 20, pre_buffer=False
        ) as file,
    ):
        check_columns(config, file.schema_arrow.names, name)
        columns = columns_asked(config)
        rows = max(1, file.metadata.num_rows)
        batch_rows = int(min(BATCH_ROWS, max(1, BATCH_BYTES * rows // (_stored_bytes(file.metadata, columns) + 1))))
        number = first
        wanted = None if groups is None else list(groups)
        for batch in file.iter_batches(batch_size=batch_rows, row_groups=wanted, columns=columns, use_threads=False):
            for row in _rows(batch, config.text_column):
                yield _record(config, number, row)
                number += 1
            tick(_file_bytes(file.metadata) * batch.num_rows / rows)


def _stored_bytes(metadata: Any, columns: list[str]) -> int:
    """Uncompressed bytes of the columns that are read."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    chunks = (group.column(number) for group in groups for number in range(group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns)


def _file_bytes(metadata: Any) -> int:
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    return sum(group.column(number).total_compressed_size for group in groups for number in range(group.num_columns))


def _rows(batch: Any, text_column: str) -> Iterator[dict[str, Any]]:
    """Rows of a batch; the text stays bytes, because Parquet does not promise that strings are UTF-8."""
    columns = {field.name: batch.column(position) for position, field in enumerate(batch.schema)}
    text = columns[text_column]
    if types.is_dictionary(text.type):
        text = text.dictionary_decode()
    if types.is_string(text.type) or types.is_large_string(text.type) or types.is_string_view(text.type):
        columns[text_column] = text.cast(pa.large_binary())
    names = list(columns)
    for values in zip(*(column.to_pylist() for column in columns.values()), strict=True):
        yield dict(zip(names, values, strict=True))


def _record(config: ParquetSource, number: int, row: Mapping[str, Any]) -> Record:
    value = row[config.text_column]
    if not isinstance(value, bytes):
        return record_of_row(config, number, row)
    text, invalid = decode(value, "utf-8", config.errors)
    if invalid is not None:
        return Record(str(number), error=INVALID_TEXT.format(encoding="utf-8"), raw=value)
    return record_of_row(config, number, {**row, config.text_column: text})


@contextmanager
def arrow_errors(name: str, url: str) -> Iterator[None]:
    """Turn what Arrow says of a damaged file into a `SourceError`."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise damaged(name, url, str(error)) from error
