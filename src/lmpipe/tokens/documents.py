"""Documents from Parquet parts (`part-*.parquet`, columns `id` and `text`), in their order, a batch at a time.

Knows the layout of the data room's output and nothing else of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lmpipe.base.errors import DamagedError

BATCH_ROWS = 256
"""Rows read at once: a compromise between the cost per batch and the memory that long documents take."""


def parts_of(folder: Path) -> list[Path]:
    """The parts of a folder in their order; none when there is no such folder."""
    return sorted(folder.glob("part-*.parquet"))


def count_documents(folder: Path) -> int:
    """How many documents a folder holds, from the parts' footers alone."""
    return sum(_opened(part).metadata.num_rows for part in parts_of(folder))


def column_names(folder: Path) -> set[str]:
    """The columns of a folder's documents; none where there is no part."""
    return {name for part in parts_of(folder)[:1] for name in _opened(part).schema_arrow.names}


def count_text_bytes(folder: Path) -> int:
    """How many UTF-8 bytes of text a folder holds."""
    total = 0
    for batch in _batches(folder, ["text"]):
        lengths = pc.sum(pc.binary_length(batch.column(0).cast(pa.large_binary()))).as_py()
        total += lengths or 0
    return total


def read_texts(folder: Path) -> Iterator[str]:
    """The text of every document."""
    for batch in _batches(folder, ["text"]):
        yield from (text or "" for text in batch.column(0).to_pylist())


def read_ids_and_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """The id and the text of every document."""
    for batch in _batches(folder, ["id", "text"]):
        ids, texts = (batch.column(name).to_pylist() for name in ("id", "text"))
        yield from ((number, text or "") for number, text in zip(ids, texts, strict=True))


def read_examples(folder: Path, column: str) -> Iterator[tuple[str, str, Any]]:
    """The id and the text of every document, and what its metadata says under `column` (None: nothing)."""
    for batch in _batches(folder, ["id", "text", "meta"]):
        for number, text, meta in zip(*(batch.column(name).to_pylist() for name in ("id", "text", "meta")), strict=True):
            yield number, text or "", json.loads(meta or "{}").get(column)


def read_tables(folder: Path, columns: list[str]) -> Iterator[Any]:
    """Record batches with these columns of every document."""
    return _batches(folder, columns)


def _batches(folder: Path, columns: list[str]) -> Iterator[Any]:
    for part in parts_of(folder):
        file = _opened(part)
        try:
            yield from file.iter_batches(batch_size=BATCH_ROWS, columns=columns)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise _damaged(part, error) from error


def _opened(part: Path) -> Any:
    try:
        return pq.ParquetFile(part)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(part, error) from error


def _damaged(part: Path, error: Exception) -> DamagedError:
    return DamagedError(
        f"a part of the documents cannot be read: {error}",
        where=str(part),
        expected="a Parquet file with the columns id and text",
        fix="remove the stage's folder from the store; the same command then computes it again",
    )
