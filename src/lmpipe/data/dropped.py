"""`dropped.parquet`: every document that a step took out, by id, with the rule, what it found and the threshold. Never text.

    id, source, rule, value, threshold, duplicate_of, found

A step whose account says `dropped` leaves this list; `lmpipe data why` reads it. `value` and `threshold` are empty where the
rule compares no numbers; `duplicate_of` names what the document repeats; `found` is a word where the rule judges words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lmpipe.data.documents import ROW_GROUP_ROWS, TableWriter, tables_of

DROPPED = "dropped.parquet"
DROPPED_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("rule", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("duplicate_of", pa.string()),
        ("found", pa.string()),
    ]
)


def dropped_writer(folder: Path) -> TableWriter:
    """Writes the list of one task, or of one step."""
    return TableWriter(folder / DROPPED, DROPPED_SCHEMA)


def dropped_rows(documents: Any, rule: str | Sequence[str], **columns: Any) -> Any:
    """Rows of the list.

    Args:
        documents: a table with `id` and `source` of those that go, and of no others.
        rule: one for all, or one for each.
        columns: values by row, or one for all, of the schema's other columns; those left out are empty.
    """
    count = documents.num_rows
    given: Mapping[str, Any] = {"rule": rule, **columns}
    arrays = [documents.column(name).combine_chunks() for name in ("id", "source")]
    for field in list(DROPPED_SCHEMA)[2:]:
        values = given.get(field.name)
        one = values is None or isinstance(values, str | float | int)
        arrays.append(pa.array([values] * count if one else values, field.type))
    return pa.table(arrays, schema=DROPPED_SCHEMA)


def gather_dropped(folders: Iterable[Path], output: Path, then: Iterable[Any] = ()) -> None:
    """Join the lists of all tasks, and further rows after them."""
    with dropped_writer(output) as writer:
        for folder in folders:
            for table in tables_of(folder / DROPPED):
                writer.write(table)
        for table in then:
            writer.write(table)


class DroppedRecords:
    """The list of a step that takes out what never became a document: written a few thousand rows at a time."""

    def __init__(self, folder: Path) -> None:
        self._writer = dropped_writer(folder)
        self._rows: list[tuple[str, str, str]] = []

    def add(self, identity: str, source: str, rule: str) -> None:
        """Append one."""
        self._rows.append((identity, source, rule))
        if len(self._rows) >= ROW_GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        ids, sources, rules = zip(*self._rows, strict=True) if self._rows else ((), (), ())
        self._writer.write(
            dropped_rows(pa.table({"id": pa.array(ids, pa.string()), "source": pa.array(sources, pa.string())}), rules)
        )
        self._rows = []

    def close(self) -> None:
        """The list is complete."""
        self.flush()
        self._writer.__exit__(None, None, None)
