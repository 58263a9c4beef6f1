"""Documents to repaired documents: the `repair` stage. Text may change, ids never do.

part-*.parquet --> part-*.parquet     the same rows, less those in which no text was left
              `--> dropped.parquet    those: id, source, rule
              `--> ledger.json
"""

from __future__ import annotations

from pathlib import Path

from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.cleaning.config import UnicodeConfig
from lmpipe.data.cleaning.unicode import repair_text
from lmpipe.data.documents import TableWriter, part_name, tables_of, with_column
from lmpipe.data.dropped import dropped_rows, dropped_writer, gather_dropped
from lmpipe.data.parts import PartTask, finish, run_over_parts
from lmpipe.data.rescuing import RescueRows
from lmpipe.data.tasks import Tick, save_ledger

EMPTY = "empty after repair"


def repair(documents: Path, output: Path, *, config: UnicodeConfig, scratch: Path, progress: Progress, workers: int) -> Ledger:
    """Repair every document.

    Args:
        documents: folder with parts of documents.
        output: an existing, empty folder.
        config: what is repaired.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done.
        workers: at most so many processes; changes no byte.

    Raises:
        SourceError: when nothing is left.
    """
    folders = run_over_parts(
        _repair_part, documents, config, scratch / "repair", workers=workers, progress=progress, rescue=RescueRows()
    )
    ledger = finish(folders, output, "repair")
    gather_dropped(folders, output)
    return ledger


def _repair_part(task: PartTask, folder: Path, tick: Tick) -> None:
    config, ledger = task.config, Ledger()
    with TableWriter(folder / part_name(0)) as writer, dropped_writer(folder) as gone:
        for table in tables_of(task.part):
            texts = table.column("text").to_pylist()
            repaired = [repair_text(text, config.normal_form, config.mojibake) for text in texts]
            kept = [bool(text) and not text.isspace() for text in repaired]
            for before, after, stays in zip(texts, repaired, kept, strict=True):
                if stays:
                    ledger.keep(len(before), len(after))
                else:
                    ledger.drop(EMPTY, len(before))
            changed = with_column(table, "text", repaired)
            writer.write(changed if all(kept) else changed.filter(kept))
            gone.write(dropped_rows(table.filter([not stays for stays in kept]), EMPTY))
            tick(table.num_rows)
    save_ledger(folder, ledger)
