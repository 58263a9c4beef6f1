"""Scores of documents: the `measure` stage. It knows no thresholds, so that changing one computes no score again.

part-*.parquet --> part-*.parquet     id and one column per score (`gopher_quality.words`), aligned with the documents row group
              |                       by row group
              `--> ledger.json        every document in is kept
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.documents import TableWriter, part_name, tables_of
from lmpipe.data.filters.batch import Batch
from lmpipe.data.filters.cutting import Vocabulary
from lmpipe.data.filters.scores import MeasureConfig, columns_of
from lmpipe.data.filters.scoring import scorer_of
from lmpipe.data.parts import PartTask, finish, run_over_parts
from lmpipe.data.rescuing import RescueRows
from lmpipe.data.tasks import Tick, save_ledger

BATCH_CHARACTERS = 1 << 20
"""Arrays of a batch take some 100 bytes per word. Four times as much is no faster, and takes 110 MB more."""


def measure(
    documents: Path,
    output: Path,
    *,
    config: MeasureConfig,
    scratch: Path,
    progress: Progress,
    workers: int,
    files: Mapping[str, str] | None = None,
) -> Ledger:
    """Score every document.

    Args:
        documents: folder with parts of documents.
        output: an existing, empty folder.
        config: which groups of scores.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done.
        workers: at most so many processes; changes no byte.
        files: where to open the files that the config names.

    Raises:
        MissingExtraError: when a group needs a library that is not installed.
        SourceError: when a list cannot be read.
    """
    folders = run_over_parts(
        _measure_part,
        documents,
        (config, dict(files or {})),
        scratch / "measure",
        workers=workers,
        progress=progress,
        rescue=RescueRows(aligned=True),
    )
    return finish(folders, output, "measure")


def schema_of(config: MeasureConfig) -> Any:
    """The columns of a sidecar."""
    scores = [item for group in config.scores for item in columns_of(group).items()]
    return pa.schema([("id", pa.string()), *((name, pa.type_for_alias(kind)) for name, kind in scores)])


def _measure_part(task: PartTask, folder: Path, tick: Tick) -> None:
    config, files = task.config
    schema, ledger, vocabulary = schema_of(config), Ledger(), Vocabulary()
    scorers = [scorer_of(group, files) for group in config.scores]
    with TableWriter(folder / part_name(0), schema) as writer:
        for table in tables_of(task.part, ["id", "text", "source", "meta"]):
            blocks = []
            for piece in _pieces(table):
                vocabulary = Vocabulary() if vocabulary.is_full() else vocabulary
                batch = Batch(*(piece.column(name).to_pylist() for name in ("text", "source", "meta")), vocabulary=vocabulary)
                columns = [column for scorer in scorers for column in scorer(batch)]
                blocks.append(pa.table([piece.column("id").combine_chunks(), *columns], schema=schema))
                for characters in batch.characters.tolist():
                    ledger.keep(characters)
            if blocks:
                writer.write(pa.concat_tables(blocks).combine_chunks())
            tick(table.num_rows)
    save_ledger(folder, ledger)


def _pieces(table: Any) -> Iterator[Any]:
    """A row group in pieces of some million characters."""
    start = size = 0
    for row, characters in enumerate(pc.utf8_length(table.column("text")).to_pylist()):
        if size and size + characters > BATCH_CHARACTERS:
            yield table.slice(start, row - start)
            start, size = row, 0
        size += characters
    if start < table.num_rows:
        yield table.slice(start)
