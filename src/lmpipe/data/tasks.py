"""A step as independent tasks: each writes a folder of its own, here or in another process, and a finished one is never redone.

    scratch/<step>/00000/    what task 0 wrote; the name appears by one rename when the task is done
                  /00001/

Which task writes what depends on the input alone, so neither the number of workers nor the engine shows in any byte. After a
kill, the same call finds the finished folders and goes on with the rest. Few tasks never pay for a pool.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType
from typing import TypeVar

from lmpipe.base.files import read_json, storing, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.engines.choice import Engine, current_engine, pool_of
from lmpipe.data.engines.guard import Rescue
from lmpipe.data.engines.performing import Task, Tick, perform, temporary_of

__all__ = ["Task", "Tick", "add_ledgers", "gather_lines", "gather_parts", "load_ledger", "run_tasks", "save_ledger"]

T = TypeVar("T")
LEDGER = "ledger.json"
WORTH_A_POOL = 3
"""Starting a worker costs about a second, as much as a fast step takes for a part."""


def run_tasks(
    function: Task[T],
    tasks: Sequence[T],
    sizes: Sequence[float],
    scratch: Path,
    *,
    workers: int,
    progress: Progress,
    unit: str,
    rescue: Rescue[T] | None = None,
) -> list[Path]:
    """Do every task that is not done yet; return their folders in the order of the tasks.

    Args:
        function: does one task.
        tasks: what is to be done; picklable.
        sizes: how much work each task is, in `unit`s; for progress.
        scratch: folder for this step alone; survives a kill.
        workers: at most so many processes; with one, or with few tasks left, the work is done here. A task in the middle of
            which a process ended before is never done here where it has a rescue.
        progress: told how much is done.
        unit: what `sizes` count.
        rescue: how a task is done that loses its worker; None: that stops the step.

    Raises:
        LmpipeError: from the first failing task, in their order.
        StageError: when a worker process dies, and no document is to blame.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    folders = [scratch / f"{number:05d}" for number in range(len(tasks))]
    left = [number for number, folder in enumerate(folders) if not folder.is_dir()]
    meter = _Meter(progress, sum(sizes), unit, done=sum(sizes) - sum(sizes[number] for number in left))
    engine = current_engine() if isinstance(function, FunctionType) else Engine()  # what holds a state cannot leave
    suspect = rescue is not None and any(temporary_of(folders[number]).exists() for number in left)
    if engine.on == "local" and not suspect and (workers <= 1 or len(left) < WORTH_A_POOL):
        for number in left:
            perform(function, tasks[number], folders[number], meter.add)
    elif left:
        for number in pool_of(engine, workers).run(function, tasks, folders, left, rescue):
            meter.add(sizes[number])
    return folders


class _Meter:
    """Adds up what tasks did."""

    def __init__(self, progress: Progress, total: float, unit: str, done: float) -> None:
        self.progress, self.total, self.unit, self.done = progress, total, unit, done
        self.add(0)

    def add(self, amount: float) -> None:
        self.done = min(self.done + amount, self.total)
        self.progress.update(self.done, self.total, self.unit)


def save_ledger(folder: Path, ledger: Ledger) -> None:
    """Keep the account of one task or one step."""
    write_json(folder / LEDGER, ledger.to_json())


def load_ledger(folder: Path) -> Ledger:
    """The account of one task or one step."""
    return Ledger.from_json(read_json(folder / LEDGER))


def add_ledgers(folders: Sequence[Path]) -> Ledger:
    """The account of all tasks."""
    total = Ledger()
    for folder in folders:
        total.add(load_ledger(folder))
    return total


def gather_parts(folders: Sequence[Path], output: Path, pattern: str = "part-*.parquet") -> int:
    """Give the parts of all tasks running numbers in `output`; return how many there are. Scratch keeps its files, so that a
    kill in the middle loses nothing."""
    from lmpipe.data.documents import part_name

    output.mkdir(parents=True, exist_ok=True)
    parts = [part for folder in folders for part in sorted(folder.glob(pattern))]
    with storing(output):
        for number, part in enumerate(parts):
            _link_or_copy(part, output / part_name(number))
    return len(parts)


def gather_lines(folders: Sequence[Path], output: Path, name: str) -> None:
    """Join a text file of all tasks."""
    with storing(output), (output / name).open("wb") as joined:
        for folder in folders:
            with (folder / name).open("rb") as part:
                shutil.copyfileobj(part, joined)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)
