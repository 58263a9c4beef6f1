"""The default engine: a pool of workers on this machine, each with a thread that watches it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lmpipe.data.engines.guard import Guard, Rescue
from lmpipe.data.engines.performing import Task


class LocalPool:
    """Does tasks in at most `workers` processes."""

    def __init__(self, workers: int, document_seconds: float) -> None:
        self.workers, self.document_seconds = workers, document_seconds
        self._guards: list[Guard] = []
        self._own = threading.local()

    def run(
        self,
        function: Task[Any],
        tasks: Sequence[Any],
        folders: Sequence[Path],
        left: Sequence[int],
        rescue: Rescue[Any] | None,
    ) -> Iterator[int]:
        """Numbers of the tasks as they are done, in order, with a bounded look-ahead.

        Raises:
            Exception: of the first task that fails, in their order; the others are ended.
        """
        waiting: dict[int, Future[None]] = {}
        queue = iter(left)
        threads = ThreadPoolExecutor(min(self.workers, len(left)), "lmpipe-worker")
        try:
            for expected in left:
                while len(waiting) < 2 * self.workers and (number := next(queue, None)) is not None:
                    arguments = (function, tasks[number], folders[number], rescue)
                    waiting[number] = threads.submit(self._perform, *arguments)
                waiting.pop(expected).result()
                yield expected
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            for guard in self._guards:
                guard.close()
            threads.shutdown()
            for guard in self._guards:
                guard.reap()

    def _perform(self, function: Task[Any], task: Any, folder: Path, rescue: Rescue[Any] | None) -> None:
        guard = getattr(self._own, "guard", None)
        if guard is None:
            guard = self._own.guard = Guard(self.document_seconds)
            self._guards.append(guard)
        guard.perform(function, task, folder, lambda amount: None, rescue)
