"""Items that an evaluation brings in a file of its own, as documents that are looked for: each text of a row is an item."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from lmpipe.base.errors import SourceError
from lmpipe.data.decontamination.config import READ, BroughtItems
from lmpipe.data.documents import Document, PartWriter


def write_brought_items(file: Path, items: BroughtItems, output: Path) -> Path:
    """Write the texts of a file as documents; gives `output`, which is written anew.

    Args:
        file: JSON lines, a JSON list, CSV or Parquet (`READ`).
        items: which columns of which rows are items.
        output: a folder. The id of an item is the number of its row (of JSON lines: of its line), from 1, and the place of its
            text: `12.prompt`, `12.choices.0`.

    Raises:
        SourceError: when a file cannot be read, or a row has no text in one of the columns.
    """
    shutil.rmtree(output, ignore_errors=True)
    with PartWriter(output) as writer:
        for identity, text in _texts(file, items):
            writer.add(Document(identity, text, items.set, "unknown", "unknown", "{}"))
    return output


def _texts(file: Path, items: BroughtItems) -> Iterator[tuple[str, str]]:
    for done, (number, row) in enumerate(_rows(file)):
        if done == items.limit:
            return
        if items.columns is None:
            yield from _texts_within(str(number), row)
            continue
        for column in items.columns:
            text = row.get(column) if isinstance(row, dict) else None
            if not isinstance(text, str):
                raise SourceError(
                    f"there is no text in the column '{column}'",
                    where=f"{file}, line {number}",
                    expected=f"a text in each of {', '.join(items.columns)}",
                    fix=f"correct the file, or what {items.set} says of its columns",
                )
            yield f"{number}.{column}", _whole(text)


def _rows(file: Path) -> Iterator[tuple[int, Any]]:
    """Rows with their numbers."""
    try:
        if file.suffix == ".csv":
            yield from enumerate(pyarrow.csv.read_csv(file).to_pylist(), 1)
        elif file.suffix == ".parquet":
            yield from enumerate(pq.read_table(file).to_pylist(), 1)
        else:
            yield from _json_rows(file)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        raise SourceError(
            f"the file cannot be read: {error}", where=str(file), expected=f"rows as one of {', '.join(READ)} in UTF-8"
        ) from None


def _json_rows(file: Path) -> Iterator[tuple[int, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        if lines.read(1) == "[" and ".json" in file.suffixes:
            lines.seek(0)
            try:
                yield from enumerate(json.load(lines), 1)
            except ValueError as error:
                raise SourceError(f"the file is no JSON: {error}", where=str(file), expected="a list of objects") from None
            return
        lines.seek(0)
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise SourceError(
                    f"the line is no JSON: {error}", where=f"{file}, line {number}", expected="a JSON object to a line"
                ) from None
            yield number, row


def _texts_within(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, _whole(value)
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts_within(f"{place}.{key}", inner)


def _whole(text: str) -> str:
    """Without lone surrogates, which no document has."""
    return text.encode("utf-8", "replace").decode()
