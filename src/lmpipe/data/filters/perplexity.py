"""How well a language model predicts documents: the `perplexity` stage. The model is handed in; this room knows none.

    part-*.parquet --> part-*.parquet     id, `perplexity.bits_per_byte`, `perplexity.quantile` (the share of documents that
                  |                       are predicted better), aligned with the documents
                  `--> ledger.json

Holds 4 bytes for each document while quantiles are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.documents import TableWriter, part_name, tables_of
from lmpipe.data.parts import PartTask, finish, run_over_parts
from lmpipe.data.tasks import Tick, save_ledger

BITS, QUANTILE = "perplexity.bits_per_byte", "perplexity.quantile"
SCHEMA = pa.schema([("id", pa.string()), (BITS, pa.float64()), (QUANTILE, pa.float64())])
TextScorer = Callable[[Sequence[str]], npt.NDArray[np.float64]]
"""Gives the bits per byte of each text."""


def measure_perplexity(
    documents: Path,
    output: Path,
    *,
    scorer: TextScorer,
    scratch: Path,
    progress: Progress,
    workers: int,
) -> Ledger:
    """Score every document.

    Args:
        documents: folder with parts of documents.
        output: an existing, empty folder.
        scorer: a dataclass of this package that is called with texts, so that it can be sent to another process.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done.
        workers: at most so many processes; changes no byte.
    """
    scored = run_over_parts(_score_part, documents, scorer, scratch / "scores", workers=workers, progress=progress)
    parts = [folder / part_name(0) for folder in scored]
    values = [np.asarray(table.column(BITS), np.float32) for part in parts for table in tables_of(part)]
    ranks = np.sort(np.concatenate(values)) if values else np.empty(0, np.float32)
    ledger = finish(scored, output, "perplexity")
    for number, part in enumerate(parts):
        (output / part_name(number)).unlink()  # a link to the file without quantiles
        with TableWriter(output / part_name(number), SCHEMA) as writer:
            for table in tables_of(part):
                found = np.searchsorted(ranks, np.asarray(table.column(BITS), np.float32)) / len(ranks)
                writer.write(table.set_column(2, QUANTILE, pa.array(found)))
    return ledger


def _score_part(task: PartTask, folder: Path, tick: Tick) -> None:
    scorer, ledger = task.config, Ledger()
    with TableWriter(folder / part_name(0), SCHEMA) as writer:
        for table in tables_of(task.part, ["id", "text"]):
            texts = table.column("text").to_pylist()
            bits = np.round(scorer(texts), 6)
            writer.write(pa.table([table.column("id").combine_chunks(), bits, np.zeros(len(texts))], schema=SCHEMA))
            for text in texts:
                ledger.keep(len(text))
            tick(table.num_rows)
    save_ledger(folder, ledger)
