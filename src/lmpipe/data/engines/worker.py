"""One process that does tasks, one after another, and can be lost: the part of every engine that may hang or die.

    parent  --(function, task, folder)-->  worker
    parent  <--("started", 0) ("tick", amount) ... ("done", None | error)--  worker

Workers are spawned: a forked copy of a process with threads may hang, and what the children of a fork server spend is not
counted as spent by this process. A worker ends with its parent, however that ends: a run that goes on after a kill must find
nobody else writing.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal

from lmpipe.base.errors import error_from_json
from lmpipe.data.engines.performing import Task, Tick, perform_elsewhere

TICK_SECONDS = 0.1
"""Ticks are gathered so long before they travel."""
DYING_SECONDS = 5.0
"""A process that has closed its line may take so long to be gone."""


@dataclass(frozen=True)
class Lost:
    """How a task ended that did not end by itself."""

    how: Literal["died", "hung"]
    done: float
    """How much of the task was done for sure."""
    detail: str = ""
    """The signal or the exit status."""


class Closed(Exception):
    """The worker was closed while it worked: the whole step ends, and nobody looks at this task any more."""


class Worker:
    """The parent's side. Starts its process when it is first needed, and a new one after a loss."""

    def __init__(self) -> None:
        self._process: Any = None
        self._line: Connection | None = None
        self._closed = False
        self._letting_go = threading.Lock()
        """A process that was let go of cannot be killed any more: no thread does the one while another does the other."""

    def perform(
        self, function: Task[Any], task: Any, folder: Path, tick: Tick, *, quiet_seconds: float | None = None
    ) -> Lost | None:
        """Do one task; None when it is done.

        Args:
            function: of a module that the process can import.
            task: picklable.
            folder: appears when the task is done.
            tick: told how much is done.
            quiet_seconds: a worker from which nothing is heard for so long counts as hung, and is ended; None: never.

        Raises:
            Exception: what the function raised.
            Closed: when `close` was called meanwhile.
        """
        line = self._line or self._start()
        done = 0.0
        try:
            line.send((function, task, folder))
            line.recv()  # it has started, and imported what the task needs: from here on the time counts
            while True:
                if not line.poll(quiet_seconds):
                    return Lost("hung", done, self._end())
                kind, value = line.recv()
                if kind == "done":
                    break
                done += value
                tick(value)
        except (EOFError, OSError):  # nobody at the other end
            if self._closed:
                raise Closed from None
            return Lost("died", done, self._end(DYING_SECONDS))
        raise_if_failed(value)
        return None

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        self._process = process  # only now: `close` kills what has started
        theirs.close()  # so that its end is noticed here
        if self._closed:
            process.kill()
        return self._line

    def _end(self, seconds: float = 0.0) -> str:
        """End the process for good, after it had so long to end by itself, and say how it ended."""
        process, line = self._process, self._line
        self._process = self._line = None
        if line is not None:
            line.close()
        if process is None:
            return ""
        process.join(timeout=seconds)
        process.kill()
        process.join()
        code = process.exitcode
        with self._letting_go:
            process.close()
        return f"signal {-code}" if code is not None and code < 0 else f"status {code}"

    def close(self) -> None:
        """End the process, also in the middle of a task. May be called from another thread than `perform`."""
        self._closed = True
        with self._letting_go:
            process = self._process
            if process is not None:
                process.kill()

    def reap(self) -> None:
        """Wait for the end of a closed process, so that what it spent counts as spent here."""
        self._end()


def raise_if_failed(failure: BaseException | dict[str, str] | None) -> None:
    """Raise what `perform_elsewhere` brought back."""
    if isinstance(failure, dict):
        raise error_from_json(failure)
    if failure is not None:
        raise failure


def _serve(line: Connection) -> None:
    """In the worker: do what comes down the line, until it ends."""
    prepare_process()
    while True:
        try:
            function, task, folder = line.recv()
        except EOFError:
            return
        line.send(("started", 0.0))
        failure = perform_elsewhere(function, task, folder, _Ticks(line.send))
        try:
            line.send(("done", failure))
        except Exception:  # an exception that cannot be pickled
            line.send(("done", RuntimeError("\n".join([repr(failure), *getattr(failure, "__notes__", [])]))))


class _Ticks:
    """Gathers ticks, so that the line carries few."""

    def __init__(self, send: Callable[[tuple[str, float]], None]) -> None:
        self._send, self._amount, self._sent_at = send, 0.0, time.monotonic()

    def __call__(self, amount: float) -> None:
        self._amount += amount
        if time.monotonic() - self._sent_at > TICK_SECONDS:
            self._send(("tick", self._amount))
            self._amount, self._sent_at = 0.0, time.monotonic()


def prepare_process() -> None:
    """A worker is one of many, so libraries in it must not take all processors."""
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
