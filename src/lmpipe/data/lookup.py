"""One document in what a data stage left: is it there, what was noted beside it, was it dropped and why.

Knows shapes, not steps, so that a step added later is understood without a change here:

    *.parquet                            with a column `text`: documents (the folder's name is the side); without: notes by `id`
    dropped.parquet                      one row per dropped document: `id`, `rule`, `value`, `threshold`, ...
    failures.jsonl                       records that never became documents: `file`, `record`, ...;
                                         documents that a step could not process: `id`, ...

Never gives text back: lengths, names and numbers only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.data.documents import columns_in, opened, tables_of
from lmpipe.data.dropped import DROPPED

SIMPLE = (str, int, float, bool)
HIDDEN = ("text", "meta")
"""Columns that may hold what a person wrote; every other one holds names and numbers."""


class Trace(NamedTuple):
    """What one file of a stage says about a document."""

    state: str
    """`present`, `noted`, `dropped` or `failed`."""
    where: str
    """The file, relative to the stage's folder."""
    values: dict[str, Any]
    """The row without its text and metadata; `characters` where there is text."""


def traces(folder: Path, identity: str) -> list[Trace]:
    """Everything that a stage's folder says about a document.

    Args:
        folder: the output of a stage.
        identity: the document's id; parts of it that a split by position cut off (`id/2`) count, too.
    """
    found = [trace for path in sorted(folder.rglob("*.parquet")) for trace in _in_table(path, folder, identity)]
    failures = folder / "failures.jsonl"
    return found + (_in_failures(failures, identity) if failures.is_file() else [])


def ids_like(folder: Path, text: str, limit: int) -> list[str]:
    """The first ids of a folder's documents that hold `text`."""
    found: list[str] = []
    for path in sorted(folder.rglob("part-*.parquet")):
        for table in tables_of(path, ["id"]):
            column = table.column("id")
            found += column.filter(pc.match_substring(column, text)).slice(0, limit - len(found)).to_pylist()
            if len(found) >= limit:
                return found
    return found


def _in_table(path: Path, folder: Path, identity: str) -> Iterator[Trace]:
    names = columns_in(path)
    if "id" not in names:
        return
    where = path.relative_to(folder).as_posix()
    state = "dropped" if path.name == DROPPED else "present" if "text" in names else "noted"
    for number, table in enumerate(tables_of(path, ["id"])):
        rows = _rows(table.column("id"), identity)
        if len(rows):
            with opened(path) as file:
                whole = file.read_row_group(number, use_threads=False).take(rows)
            yield from (Trace(state, where, _shown(row)) for row in whole.to_pylist())


def _rows(ids: Any, identity: str) -> Any:
    same = pc.or_(pc.equal(ids, identity), pc.starts_with(ids, f"{identity}/"))
    return pc.indices_nonzero(pc.fill_null(same, False)) if len(ids) else pa.array([], pa.uint64())


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    values = {key: value for key, value in row.items() if key not in HIDDEN and (value is None or isinstance(value, SIMPLE))}
    return {**values, "characters": len(row["text"])} if isinstance(row.get("text"), str) else values


def _in_failures(path: Path, identity: str) -> list[Trace]:
    """A record that could not be read has no id yet; it is named by its file and number: `file:record`."""
    asked = (identity, identity.rpartition(":")[0])
    with path.open(encoding="utf-8") as lines:
        rows = (json.loads(line) for line in lines)
        return [
            Trace("failed", path.name, row)
            for row in rows
            if row.get("id") == identity or f"{row.get('file')}:{row.get('record')}" in asked
        ]
