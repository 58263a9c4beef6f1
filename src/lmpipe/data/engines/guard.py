"""A task that one bad document must not stop: the worker is replaced, the document found, left out and booked as failed.

    worker lost --> again, in a new worker --> done: it was no document (memory was short, a kill from outside)
                                          `--> lost again --> halves, halves of halves, ... the documents --> the rest

How a task is halved and done without some of its documents is its own business (`Rescue`). A task without a rescue that loses
two workers stops the step. A worker counts as hung when it says nothing for the time limit; this is the one place where a clock
decides, so the limit is generous, and in no identity.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lmpipe.base.errors import StageError
from lmpipe.data.engines.performing import Task, Tick
from lmpipe.data.engines.worker import Lost, Worker

T_contra = TypeVar("T_contra", contravariant=True)
Attempt = Callable[[Any, Path], Lost | None]
"""Does a task in a worker that may be lost."""


class Rescue(Protocol[T_contra]):
    """How a task that loses its worker is done without the documents that are to blame."""

    def covers(self, task: T_contra) -> bool:
        """Whether the task tells often enough how far it is for silence to mean that a document hangs it."""

    def __call__(self, task: T_contra, folder: Path, lost: Lost, attempt: Attempt) -> None:
        """Make `folder` appear, by attempts at parts of the task.

        Raises:
            StageError: when no document is to blame, or too many are.
        """


class Guard:
    """One worker, and what to do when it is lost."""

    def __init__(self, document_seconds: float) -> None:
        self.document_seconds = document_seconds
        self._worker = Worker()

    def perform(self, function: Task[Any], task: Any, folder: Path, tick: Tick, rescue: Rescue[Any] | None) -> None:
        """Do one task; `folder` appears.

        Raises:
            StageError: when the worker dies twice and no document can be left out.
            Exception: what the function raised.
        """
        limit = self.document_seconds if rescue and rescue.covers(task) else None
        lost = self._worker.perform(function, task, folder, tick, quiet_seconds=limit)
        if lost is None:
            return
        if lost.how == "died":  # a hang would only cost its time again
            lost = self._worker.perform(function, task, folder, _nobody, quiet_seconds=limit)
        if lost is None:
            return
        if rescue is None:
            raise died(folder.parent.name, lost)

        def attempt(part: Any, place: Path) -> Lost | None:
            return self._worker.perform(function, part, place, _nobody, quiet_seconds=limit)

        rescue(task, folder, lost, attempt)

    def close(self) -> None:
        """End the worker, also in the middle of a task."""
        self._worker.close()

    def reap(self) -> None:
        """After `close`: wait until it has ended."""
        self._worker.reap()


def _nobody(amount: float) -> None:
    """Progress that was told already."""


def died(step: str, lost: Lost) -> StageError:
    """A worker was lost, and no document is to blame."""
    return StageError(
        f"a worker process {lost.how} ({lost.detail})",
        where=step,
        expected="enough memory for every worker; a script of your own guards its start by `if __name__ == '__main__'`",
        fix="run again with fewer workers; what is done stays done",
    )
