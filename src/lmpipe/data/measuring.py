"""Scores of documents: the `measure` stage. It knows no thresholds, so that changing one computes no score again.

part-*.parquet --> part-*.parquet     id and one column per score, aligned with the documents row group by row group
              `--> ledger.json        every document in is kept
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.documents import TableWriter, part_name, tables_of
from lmpipe.data.filters.config import MeasureConfig
from lmpipe.data.filters.repetition import SCORES, repetition_scores
from lmpipe.data.parts import PartTask, finish, run_over_parts
from lmpipe.data.rescuing import RescueRows
from lmpipe.data.tasks import Tick, save_ledger


def length_scores(text: str) -> tuple[int, int]:
    """(characters, words): words are runs of characters that are not white space."""
    return len(text), len(text.split())


GROUPS: dict[str, tuple[Sequence[str], Any, Callable[[str], Sequence[float]]]] = {
    "length": (("characters", "words"), pa.int64(), length_scores),
    "repetition": (SCORES, pa.float64(), repetition_scores),
}
"""Group of scores: names, Arrow type, and the function that computes them of one text."""


def measure(documents: Path, output: Path, *, config: MeasureConfig, scratch: Path, progress: Progress, workers: int) -> Ledger:
    """Score every document.

    Args:
        documents: folder with parts of documents.
        output: an existing, empty folder.
        config: which groups of scores.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done.
        workers: at most so many processes; changes no byte.
    """
    folders = run_over_parts(
        _measure_part,
        documents,
        config,
        scratch / "measure",
        workers=workers,
        progress=progress,
        rescue=RescueRows(aligned=True),
    )
    return finish(folders, output, "measure")


def schema_of(config: MeasureConfig) -> Any:
    """The columns of a sidecar."""
    scores = [(name, kind) for group in config.scores for name, kind in ((n, GROUPS[group][1]) for n in GROUPS[group][0])]
    return pa.schema([("id", pa.string()), *scores])


def _measure_part(task: PartTask, folder: Path, tick: Tick) -> None:
    schema, ledger = schema_of(task.config), Ledger()
    with TableWriter(folder / part_name(0), schema) as writer:
        for table in tables_of(task.part, ["id", "text"]):
            texts = table.column("text").to_pylist()
            columns = [list(column) for group in task.config.scores for column in _columns(group, texts)]
            writer.write(pa.table([table.column("id").combine_chunks(), *columns], schema=schema))
            for text in texts:
                ledger.keep(len(text))
            tick(table.num_rows)
    save_ledger(folder, ledger)


def _columns(group: str, texts: Sequence[str]) -> list[tuple[float, ...]]:
    return list(zip(*map(GROUPS[group][2], texts), strict=True))
