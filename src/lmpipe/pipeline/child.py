"""The processes of stages: `python -m lmpipe.pipeline.child RUNNER MODULE ...`, started by `supervisors.py`.

    runner ──stdin: a JSON line (the job), then perhaps "stop"; the next; the end──> supervisor ──forks──> worker (the stage)
    runner <──stdout: JSON lines (started, progress, note, done | error | crash, exit)────── both
    runner <──stderr: whatever anything in the worker prints

The supervisor loads the modules that its stages share, and then only waits. It holds the line to the runner, so that the
worker, and every process the worker starts (they share its process group), ends when the runner does, however it ends. It also
tells what the worker took: exact processor time (the first one's includes loading) and peak memory, even if it was killed.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

TOLD_TO_STOP = 143
"""Exit status of a worker that was asked to stop."""


def main(runner: int, modules: Sequence[str]) -> int:
    """Supervise one stage after the other."""
    _die_with_parent(signal.SIGTERM)
    if os.getppid() != runner:
        return 1  # it died before it could say anything
    events = Events(os.dup(1))
    os.dup2(2, 1)  # stray prints must not mix with the events
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _load(modules)
    supervisor = _Supervisor(events)
    while (job := supervisor.next_job()) is not None:
        with warnings.catch_warnings():  # newer Pythons warn of forks beside threads: numpy's, which have nothing to do
            warnings.simplefilter("ignore", DeprecationWarning)
            worker = os.fork()
        if worker == 0:
            supervisor.leave()
            os.setpgid(0, 0)
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            _die_with_parent(signal.SIGKILL)
            return _work(job, events)
        supervisor.watch(worker)
    return 0


def _load(modules: Sequence[str]) -> None:
    """Import what all workers would. One that cannot be loaded is left to the stage, which says what it needs it for."""
    for module in modules:
        with suppress(Exception):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # no worker's collector looks at, and so copies, what stands here


def _die_with_parent(signum: int) -> None:
    """Linux: be sent `signum` when the parent ends. Elsewhere the end of standard input tells the supervisor."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signum, 0, 0, 0)


class Events:
    """JSON lines to the runner. A line is written by one call, under a lock."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._lock = threading.Lock()

    def send(self, event: str, **values: Any) -> None:
        """Write one event; silently not, when the runner is gone."""
        data = json.dumps({"event": event, **values}).encode() + b"\n"
        with self._lock:
            try:
                while data:
                    data = data[os.write(self._handle, data) :]
            except OSError:
                pass


class _Supervisor:
    """The supervisor's ears: what the runner says, and that a worker has ended. It has no thread of its own, since it forks."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._said = b""
        self._told_seconds = 0.0
        self._ended, self._ending = os.pipe()
        for handle in (self._ended, self._ending):
            os.set_blocking(handle, False)
        signal.set_wakeup_fd(self._ending)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # one that is ignored wakes nobody

    def next_job(self) -> dict[str, Any] | None:
        """Wait for one; None at the end. An order to stop that came too late for its stage is passed over."""
        while True:
            line, found, rest = self._said.partition(b"\n")
            if found:
                self._said = rest
                if line.startswith(b"{"):
                    job: dict[str, Any] = json.loads(line)
                    return job
            elif data := os.read(0, 1 << 16):
                self._said += data
            else:
                return None

    def leave(self) -> None:
        """In the worker: be no supervisor."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._ended)
        os.close(self._ending)

    def watch(self, worker: int) -> None:
        """Until the worker has ended, do what the runner says; then tell how it ended, and end what it left behind."""
        signal.signal(signal.SIGTERM, lambda *_: _kill_group(worker))
        self._events.send("started", pid=worker)
        listening = [0, self._ended]
        while not (ended := os.wait4(worker, os.WNOHANG))[0]:
            ready, _, _ = select.select(listening, [], [])
            if self._ended in ready:
                os.read(self._ended, 1 << 16)
            if 0 in ready:
                said = os.read(0, 1 << 16)
                if not said:
                    listening.remove(0)
                    _kill_group(worker)
                elif b"stop" in said:
                    os.kill(worker, signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _kill_group(worker)
        _, status, usage = ended
        unit = 1 if sys.platform == "darwin" else 1024
        self._events.send(
            "exit",
            status=os.waitstatus_to_exitcode(status),
            cpu_seconds=usage.ru_utime + usage.ru_stime + self._own_seconds(),
            peak_memory_bytes=usage.ru_maxrss * unit,
        )

    def _own_seconds(self) -> float:
        """Processor time of this process since it was last told: the first stage is charged with what was loaded for all."""
        before, self._told_seconds = self._told_seconds, time.process_time()
        return self._told_seconds - before


def _kill_group(worker: int) -> None:
    try:
        os.killpg(worker, signal.SIGKILL)
    except ProcessLookupError:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)  # it has not made its group yet


class Stop:
    """Whether the stage was asked to stop, and whether it ever looks."""

    def __init__(self) -> None:
        self._asked = False
        self._listens = False
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self._asked = True
        if not self._listens:
            os._exit(TOLD_TO_STOP)

    def __call__(self) -> bool:
        """True once asked."""
        self._listens = True
        return self._asked

    @property
    def asked(self) -> bool:
        """As the call, without counting as a look."""
        return self._asked


class ChildReporter:
    """The stage's progress as events."""

    def __init__(self, events: Events) -> None:
        from lmpipe.pipeline.thinning import Thinned

        self._events = events
        self._thinned = Thinned(
            lambda done, total, unit, values: events.send("progress", done=done, total=total, unit=unit, values=values)
        )

    def update(self, done: float, total: float | None, unit: str, **values: float | str) -> None:
        """Send, or keep for later."""
        self._thinned.update(done, total, unit, values)

    def note(self, text: str) -> None:
        """Send at once."""
        self.flush()
        self._events.send("note", text=text)

    def output(self, text: str) -> None:
        """Printed lines travel by themselves, over stderr."""

    def flush(self) -> None:
        """Send what is kept."""
        self._thinned.flush()


def _work(spec: dict[str, Any], events: Events) -> int:
    """In the worker: rebuild the job, call the function, send the answer."""
    import faulthandler

    faulthandler.enable()  # a crash in native code leaves a traceback among the printed lines
    stop = Stop()

    from lmpipe.base.errors import LmpipeError
    from lmpipe.pipeline.execute import crash, describe, perform, work_of
    from lmpipe.pipeline.isolated import job_from_json

    job = None
    reporter = ChildReporter(events)
    try:
        job = job_from_json(spec)
        done = perform(job, work_of(job, reporter, stop))
        reporter.flush()
        if stop.asked:
            return TOLD_TO_STOP
        code = done.code.model_dump(mode="json")
        events.send("done", facts=done.facts, code=code, libraries=done.libraries)
        return 0
    except LmpipeError as error:
        _send_error(events, error)
    except Exception as error:
        _send_error(events, describe(error, job) if job else crash(spec["stage"], error))
    return 1


def _send_error(events: Events, error: Any) -> None:
    if text := getattr(error, "traceback", ""):
        events.send("crash", error=error.to_json(), traceback=text)
    else:
        events.send("error", error=error.to_json())


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
