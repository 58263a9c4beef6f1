"""One task for each part of documents, and the account of all of them: how most data stages are run.

Knows parts and ledgers; not what a step does with a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.base.errors import SourceError
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.documents import parts_of, rows_in
from lmpipe.data.rescuing import FAILURES, RescueRows
from lmpipe.data.tasks import Task, add_ledgers, gather_lines, gather_parts, run_tasks, save_ledger


@dataclass(frozen=True)
class PartTask:
    """One part of documents to be worked on."""

    part: Path
    config: Any
    """Whatever the step needs beside the rows; picklable."""
    beside: tuple[Path | None, ...] = ()
    """Parts of other folders that are aligned with this one, row group by row group."""


def run_over_parts(
    function: Task[PartTask],
    documents: Path,
    config: Any,
    scratch: Path,
    *,
    workers: int,
    progress: Progress,
    beside: Sequence[Path | None] = (),
    rescue: RescueRows | None = None,
) -> list[Path]:
    """Do `function` for every part of `documents`; return the folders that it wrote, in order.

    Args:
        function: does one part.
        documents: folder with parts.
        config: handed to every task.
        scratch: folder for this step alone.
        workers: at most so many processes.
        progress: told documents done.
        beside: folders whose parts are aligned with those of `documents`.
        rescue: for steps whose rows stand for themselves: how a part is done without a document that ends or hangs its worker.
    """
    tasks = [PartTask(part, config, tuple(folder and folder / part.name for folder in beside)) for part in parts_of(documents)]
    return run_part_tasks(function, tasks, scratch, workers=workers, progress=progress, rescue=rescue)


def run_part_tasks(
    function: Task[PartTask],
    tasks: Sequence[PartTask],
    scratch: Path,
    *,
    workers: int,
    progress: Progress,
    rescue: RescueRows | None = None,
) -> list[Path]:
    """The same for tasks that differ in more than their part."""
    rows = [rows_in(task.part) for task in tasks]
    options: dict[str, Any] = {"workers": workers, "progress": progress, "unit": "documents", "rescue": rescue}
    return run_tasks(function, tasks, rows, scratch, **options)


def finish(folders: Sequence[Path], output: Path, step: str) -> Ledger:
    """Gather parts and accounts of all tasks of a step.

    Raises:
        StageError: when the account does not add up.
        SourceError: when no document is left.
    """
    ledger = add_ledgers(folders)
    ledger.close(where=step)
    if ledger.rows_in and not ledger.rows_kept:
        raise nothing_left(ledger, step)
    gather_parts(folders, output)
    failures = [folder for folder in folders if (folder / FAILURES).is_file()]
    if failures:
        gather_lines(failures, output, FAILURES)
    save_ledger(output, ledger)
    return ledger


def nothing_left(ledger: Ledger, step: str) -> SourceError:
    """Every document was dropped."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in ledger.dropped.most_common(5))
    return SourceError(
        f"no document is left after '{step}': {ledger.rows_in} went in",
        where=reasons,
        expected="at least one document that passes every bound",
        fix="loosen the bound that dropped most, or read more text",
    )
