"""A step as independent tasks: each writes a folder of its own, here or in another process, and a finished one is never redone.

    scratch/<step>/00000/    what task 0 wrote; the name appears by one rename when the task is done
                  /00001/

Which task writes what depends on the input alone, so the number of workers shows in no byte. After a kill, the same call finds
the finished folders and goes on with the rest. Few tasks never pay for a pool.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lmpipe.base.errors import LmpipeError, StageError, error_from_json
from lmpipe.base.files import read_json, storing, sync_tree, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress

T_contra = TypeVar("T_contra", contravariant=True)
T = TypeVar("T")
LEDGER = "ledger.json"
WORTH_A_POOL = 3
"""Starting a worker costs about a second, as much as a fast step takes for a part."""
Tick = Callable[[float], None]
"""Takes how much of the task was done since the last call, in the units of its size."""


class Task(Protocol[T_contra]):
    """What does the work: a function of a module, so that another process can import it."""

    def __call__(self, task: T_contra, folder: Path, tick: Tick) -> None:
        """Write everything that belongs to `task` into `folder`, an empty one."""


def run_tasks(
    function: Task[T],
    tasks: Sequence[T],
    sizes: Sequence[float],
    scratch: Path,
    *,
    workers: int,
    progress: Progress,
    unit: str,
) -> list[Path]:
    """Do every task that is not done yet; return their folders in the order of the tasks.

    Args:
        function: does one task.
        tasks: what is to be done; picklable.
        sizes: how much work each task is, in `unit`s; for progress.
        scratch: folder for this step alone; survives a kill.
        workers: at most so many processes; with one, or with few tasks left, the work is done here.
        progress: told how much is done.
        unit: what `sizes` count.

    Raises:
        LmpipeError: from the first failing task, in their order.
        StageError: when a worker process dies.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    folders = [scratch / f"{number:05d}" for number in range(len(tasks))]
    left = [number for number, folder in enumerate(folders) if not folder.is_dir()]
    meter = _Meter(progress, sum(sizes), unit, done=sum(sizes) - sum(sizes[number] for number in left))
    if workers <= 1 or len(left) < WORTH_A_POOL:
        for number in left:
            _perform(function, tasks[number], folders[number], meter.add)
    else:
        for number in _in_processes(function, tasks, folders, left, workers):
            meter.add(sizes[number])
    return folders


def _perform(function: Task[T], task: T, folder: Path, tick: Tick) -> None:
    """Do one task in a folder with a temporary name, which a kill leaves behind and the next attempt empties."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    with storing(folder):
        function(task, temporary, tick)
        sync_tree(temporary)
        temporary.rename(folder)


def _perform_elsewhere(function: Task[T], task: T, folder: Path) -> dict[str, str] | None:
    """`_perform` in a worker; an error with a message comes back as plain data, because not every exception can be pickled."""
    try:
        _perform(function, task, folder, lambda amount: None)
    except LmpipeError as error:
        return error.to_json()
    return None


def _in_processes(function: Task[T], tasks: Sequence[T], folders: list[Path], left: list[int], workers: int) -> Iterator[int]:
    """Numbers of the tasks as they are done, in order, with a bounded look-ahead.

    Workers are spawned: a forked copy of a process with threads may hang, and what the children of a fork server spend is not
    counted as spent by this process.
    """
    context = multiprocessing.get_context("spawn")
    waiting: dict[int, Future[Any]] = {}
    queue = iter(left)
    with ProcessPoolExecutor(min(workers, len(left)), mp_context=context, initializer=_prepare_worker) as pool:
        try:
            for expected in left:
                while len(waiting) < 2 * workers and (number := next(queue, None)) is not None:
                    waiting[number] = pool.submit(_perform_elsewhere, function, tasks[number], folders[number])
                failure = waiting.pop(expected).result()
                if failure:
                    raise error_from_json(failure)
                yield expected
        except BrokenProcessPool as error:
            raise StageError(
                "a worker process died",
                where=folders[expected].parent.name,
                expected="enough memory for every worker; a script of your own guards its start by `if __name__ == '__main__'`",
                fix="run again with fewer workers; what is done stays done",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    """A worker is one of many, so libraries in it must not take all processors. And it ends with the process that started it: a
    run that goes on after a kill must find nobody else writing."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import pyarrow as pa

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


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
