"""Documents on disk: one Arrow schema, in numbered Parquet parts of bounded row groups.

    folder/part-00000.parquet     row groups of at most 4,096 rows or about 8 MB of text; parts of about 32 MB of text
           part-00001.parquet     compressed by zstd; equal rows give equal bytes under one version of pyarrow

Steps read and write one row group at a time, so their memory follows the row group and never the corpus. Does not know what any
step does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq

from lmpipe.base.errors import DamagedError
from lmpipe.base.files import storing

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("source", pa.string()),
        ("licence", pa.string()),
        ("language", pa.string()),
        ("meta", pa.string()),
    ]
)
ROW_GROUP_ROWS = 4096
ROW_GROUP_BYTES = 8 << 20
PART_BYTES = 32 << 20
"""Parts are also what is worked on in parallel and done again after a kill, so they are smaller than a disk would like."""
DICTIONARY_COLUMNS = ["source", "licence", "language", "meta", "rule"]


class Document(NamedTuple):
    """One row."""

    id: str
    """Stable: name of the file, number or id of the record, `~piece` where it was cut, digest of the text's bytes."""
    text: str
    source: str
    """Name of the file: relative to its root, never a machine's path."""
    licence: str
    language: str
    meta: str
    """A JSON object."""


def group_key(identity: str) -> str:
    """What all pieces of one document share.

    >>> group_key("books/emma.txt:0~12:9f86d081884c")
    'books/emma.txt:0'
    """
    record = identity.rpartition(":")[0] or identity
    stem, mark, piece = record.rpartition("~")
    return stem if mark and piece.isdecimal() else record


def parts_of(folder: Path) -> list[Path]:
    """The parts of a folder, in order."""
    return sorted(folder.glob("part-*.parquet"))


def part_name(number: int) -> str:
    """The file name of a part."""
    return f"part-{number:05d}.parquet"


def count_rows(folder: Path) -> int:
    """Documents in a folder, from the parts' footers alone."""
    return sum(map(rows_in, parts_of(folder)))


def rows_in(part: Path) -> int:
    """Documents in a part, from its footer."""
    with opened(part) as file:
        return int(file.metadata.num_rows)


def columns_in(part: Path) -> list[str]:
    """The names of a part's columns, from its footer."""
    with opened(part) as file:
        return list(file.schema_arrow.names)


def opened(part: Path) -> Any:
    """A part, ready to be read by row groups.

    Raises:
        DamagedError: when it is no Parquet file or a truncated one.
    """
    try:
        return pq.ParquetFile(part, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(part, error) from error


def tables_of(part: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """The row groups of one part as tables, in order.

    Raises:
        DamagedError: when the part cannot be read to its end.
    """
    names = list(columns) if columns is not None else None
    with opened(part) as file:
        for number in range(file.metadata.num_row_groups):
            try:
                table = file.read_row_group(number, columns=names, use_threads=False)
            except (pa.ArrowException, OSError) as error:
                raise _damaged(part, error) from error
            yield table


def read_tables(folder: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """The row groups of all parts of a folder, in order."""
    for part in parts_of(folder):
        yield from tables_of(part, columns)


def read_documents(folder: Path) -> Iterator[Document]:
    """Every document of a folder, in order."""
    for table in read_tables(folder, SCHEMA.names):
        yield from map(Document._make, zip(*(table.column(name).to_pylist() for name in SCHEMA.names), strict=True))


class TableWriter:
    """Writes one Parquet file; every table given becomes exactly one row group, so rows of aligned files stay aligned."""

    def __init__(self, path: Path, schema: Any = SCHEMA) -> None:
        self.path, self.schema = path, schema
        path.parent.mkdir(parents=True, exist_ok=True)
        with storing(path):
            self._writer = pq.ParquetWriter(
                path,
                schema,
                compression="zstd",
                compression_level=3,
                use_dictionary=[name for name in schema.names if name in DICTIONARY_COLUMNS],
                write_statistics=False,
            )

    def write(self, table: Any) -> None:
        """Append a row group; a table without rows is skipped."""
        if table.num_rows:
            with storing(self.path):
                self._writer.write_table(table, row_group_size=table.num_rows)

    def write_in_groups(self, table: Any) -> None:
        """Append a large table as several row groups of bounded size."""
        rows = max(1, min(ROW_GROUP_ROWS, table.num_rows * ROW_GROUP_BYTES // max(1, table.nbytes)))
        for start in range(0, table.num_rows, rows):
            self.write(table.slice(start, rows))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with storing(self.path):
            self._writer.close()


class PartWriter:
    """Writes documents into numbered parts of a folder, in bounded memory. The last part exists even if nothing was added."""

    def __init__(self, folder: Path, *, part_bytes: int = PART_BYTES) -> None:
        self.folder, self.part_bytes = folder, part_bytes
        self.parts = 0
        self._rows: list[Document] = []
        self._row_bytes = self._bytes_in_part = 0
        self._writer: TableWriter | None = None

    def add(self, document: Document) -> None:
        """Append one document."""
        self._rows.append(document)
        self._row_bytes += len(document.text)
        if len(self._rows) >= ROW_GROUP_ROWS or self._row_bytes >= min(ROW_GROUP_BYTES, self.part_bytes):
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._part().write(table_of(self._rows))
        self._bytes_in_part += self._row_bytes
        self._rows, self._row_bytes = [], 0
        if self._bytes_in_part >= self.part_bytes:
            self._close()

    def _part(self) -> TableWriter:
        if self._writer is None:
            self._writer = TableWriter(self.folder / part_name(self.parts))
            self.parts += 1
            self._bytes_in_part = 0
        return self._writer

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.__exit__(None, None, None)
            self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self._flush()
            if not self.parts:
                self._part()
        self._close()


def table_of(documents: Sequence[Document]) -> Any:
    """Documents as a table."""
    columns = list(zip(*documents, strict=True)) or [()] * len(SCHEMA)
    return pa.table([pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def with_column(table: Any, name: str, values: Sequence[str]) -> Any:
    """A table of documents with one column replaced."""
    position = SCHEMA.get_field_index(name)
    return table.set_column(position, SCHEMA.field(position), pa.array(values, SCHEMA.field(position).type))


def _damaged(part: Path, error: Exception) -> DamagedError:
    return DamagedError(
        f"a part of the documents cannot be read: {error}",
        where=str(part),
        expected="a whole Parquet file as a data stage writes it",
        fix="remove the stage's folder from the store; the same command then computes it again",
    )
