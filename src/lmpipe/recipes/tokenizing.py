"""Tokenizers compared on text that lies anywhere: a file, a folder, or a corpus of a run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lmpipe.base.errors import RecipeError
from lmpipe.base.progress import Silent
from lmpipe.data.readers.config import SUFFIXES
from lmpipe.recipes.results import open_run

KINDS = ("jsonl", "csv", "parquet", "markdown", "html", "warc", "pdf", "docx", "text")
"""Kinds of files that can be compared on, in the order in which a suffix is looked up."""
RECORDS = ("jsonl", "csv", "parquet")
"""Kinds that have columns."""
HELD_OUT = "test"
"""The side of a run's corpus that is read: a tokenizer may have been trained on the others."""


def compare(names: Sequence[str], on: str, *, by: str | None = None, store: str = "store") -> list[dict[str, Any]]:
    """Rows of `tokens.comparing.compare_tokenizers`.

    Args:
        names: folders with a tokenizer.json, bundles, or such files.
        on: a file or folder of text, or `RUN:CORPUS` for the held-out text of a run.
        by: also by `language`, `source`, or any other column of the documents.
        store: where runs are.

    Raises:
        RecipeError: when there is no such text.
        ModelError: when there is no such tokenizer.
        SourceError: when the text cannot be read.
    """
    from lmpipe.base.extras import require

    require("tokenizers", extra="train", purpose="comparing tokenizers")
    from lmpipe.tokens.comparing import compare_tokenizers
    from lmpipe.tokens.tokenizer import load_tokenizer

    tokenizers = {name: load_tokenizer(Path(name)) for name in dict.fromkeys(names)}
    return compare_tokenizers(tokenizers, _documents(on, by, store))


def _documents(on: str, by: str | None, store: str) -> Iterator[tuple[str, str]]:
    """(value of the column `by`, text) of every document."""
    if Path(on).exists():
        with tempfile.TemporaryDirectory() as scratch:
            yield from _grouped(_read(Path(on), by, Path(scratch)), by)
        return
    run, _, corpus = on.rpartition(":")
    folder = open_run(run, store).folder(f"split-{corpus}") if run else None
    if folder is None:
        raise RecipeError(
            f"there is no text '{on}'",
            where="--on",
            expected="a file, a folder, or RUN:CORPUS for a corpus of a run that got as far as its split",
            fix="check the path, or `lmpipe show` for runs",
        )
    yield from _grouped(folder / HELD_OUT, by)


def _read(path: Path, by: str | None, scratch: Path) -> Path:
    """The documents of a file or of a folder's files, read as a recipe would read them."""
    from pydantic import TypeAdapter

    from lmpipe.data.columns import OWN_COLUMNS
    from lmpipe.data.readers.config import SourceConfig
    from lmpipe.data.readers.opening import without_compression
    from lmpipe.data.readers.sources import pinned, resolve_all
    from lmpipe.data.reading import read

    if path.is_dir() and any(path.glob("part-*.parquet")):
        return path
    suffix = Path(without_compression(path.name)).suffix.lower()
    kind = next((kind for kind in KINDS if suffix in SUFFIXES[kind]), "text")
    columns: dict[str, Any] = {}
    if kind in RECORDS and by == "language":
        columns = {"language_column": by}
    elif kind in RECORDS and by and by not in OWN_COLUMNS:
        columns = {"meta_columns": [by]}
    source: Any = TypeAdapter(SourceConfig).validate_python({"kind": kind, "paths": [str(path.absolute())], **columns})
    resolved = resolve_all([source], [])
    output = scratch / "documents"
    output.mkdir()
    files = [file for found in resolved for file in found]
    read(pinned([source], resolved, 0.5), files, output, scratch=scratch, progress=Silent(), workers=1)
    return output


def _grouped(folder: Path, by: str | None) -> Iterator[tuple[str, str]]:
    from lmpipe.data.columns import needed_for, values_of
    from lmpipe.tokens.documents import read_tables

    for table in read_tables(folder, ["text", *needed_for(by)]):
        groups = values_of(table, by) if by else [None] * len(table)
        yield from ((group or "", text or "") for group, text in zip(groups, table["text"].to_pylist(), strict=True))
