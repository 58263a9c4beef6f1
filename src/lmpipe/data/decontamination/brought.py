"""Items that an evaluation brings in a file of its own, as documents that are looked for: each text of a row is an item."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from lmpipe.base.errors import SourceError
from lmpipe.data.decontamination.config import BroughtItems
from lmpipe.data.documents import Document, PartWriter


def write_brought_items(file: Path, items: BroughtItems, output: Path) -> Path:
    """Write the texts of a file as documents; gives `output`, which is written anew.

    Args:
        file: JSON lines, `.gz` too.
        items: which columns of which rows are items.
        output: a folder. The id of an item is the number of its line and its column: `12.prompt`.

    Raises:
        SourceError: when a line is no JSON object, or has no text in one of the columns.
    """
    shutil.rmtree(output, ignore_errors=True)
    with PartWriter(output) as writer:
        for identity, text in _texts(file, items):
            writer.add(Document(identity, text, items.set, "unknown", "unknown", "{}"))
    return output


def _texts(file: Path, items: BroughtItems) -> Iterator[tuple[str, str]]:
    rows = 0
    with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if rows == items.limit:
                return
            if not line.strip():
                continue
            rows += 1
            try:
                row = json.loads(line)
            except ValueError as error:
                raise SourceError(
                    f"the line is no JSON: {error}", where=f"{file}, line {number}", expected="a JSON object to a line"
                ) from None
            for column in items.columns:
                text = row.get(column) if isinstance(row, dict) else None
                if not isinstance(text, str):
                    raise SourceError(
                        f"there is no text in the column '{column}'",
                        where=f"{file}, line {number}",
                        expected=f"a text in each of {', '.join(items.columns)}",
                        fix=f"correct the file, or what {items.set} says of its columns",
                    )
                yield f"{number}.{column}", text.encode("utf-8", "replace").decode()
