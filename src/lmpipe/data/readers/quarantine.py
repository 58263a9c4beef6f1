"""The bytes of records that could not be read, kept where they can be looked at: `quarantine.parquet` of the reading stage.

    file, record, error, offset, bytes, whole

Bounded: of one record at most 1 MiB, of a corpus `max_quarantine_bytes`; the first in the order of the corpus are kept.
`whole` says whether all bytes of the record are there; of the rest, `failures.jsonl` still names file, record and offset. They
are raw text as it came, personal data included: part of the store like the documents, and of no report.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lmpipe.data.documents import ROW_GROUP_BYTES, TableWriter, tables_of
from lmpipe.data.readers.lines import KEPT_BYTES

QUARANTINE = "quarantine.parquet"
SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("record", pa.string()),
        ("error", pa.string()),
        ("offset", pa.int64()),
        ("bytes", pa.large_binary()),
        ("whole", pa.bool_()),
    ]
)


class Quarantine:
    """Collects failed records of one task."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.max_bytes, self.kept_bytes = max_bytes, 0
        self._writer = TableWriter(folder / QUARANTINE, SCHEMA)
        self._rows: list[dict[str, Any]] = []
        self._row_bytes = 0

    def add(self, file: str, record: str, error: str, offset: int | None, raw: bytes, whole: bool) -> bool:
        """Keep one record, if there is room; say whether there was."""
        kept = raw[:KEPT_BYTES]
        if self.kept_bytes + len(kept) > self.max_bytes:
            return False
        whole = whole and len(kept) == len(raw)
        self._rows.append(dict(zip(SCHEMA.names, (file, record, error, offset, kept, whole), strict=True)))
        self.kept_bytes += len(kept)
        self._row_bytes += len(kept)
        if self._row_bytes >= ROW_GROUP_BYTES:
            self._flush()
        return True

    def _flush(self) -> None:
        self._writer.write(pa.Table.from_pylist(self._rows, schema=SCHEMA))
        self._rows, self._row_bytes = [], 0

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        self._writer.__exit__(None, None, None)


def gather_quarantine(folders: Sequence[Path], output: Path, max_bytes: int) -> int:
    """Join what the tasks kept, up to the bound; return how many records there are."""
    quarantine = Quarantine(output, max_bytes)
    kept = sum(quarantine.add(**_argument(row)) for row in _rows(folders))
    quarantine.close()
    return kept


def _argument(row: dict[str, Any]) -> dict[str, Any]:
    return {("raw" if name == "bytes" else name): value for name, value in row.items()}


def _rows(folders: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for folder in folders:
        for table in tables_of(folder / QUARANTINE):
            yield from table.to_pylist()
