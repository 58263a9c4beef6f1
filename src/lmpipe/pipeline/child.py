"""The process of one stage: `python -m lmpipe.pipeline.child`, started by `isolated.py`.

    runner ──stdin: one JSON line (the job), then "stop" or the end──> supervisor ──forks──> worker (calls the stage)
    runner <──stdout: JSON lines (started, progress, note, done | error | crash, exit)────── both
    runner <──stderr: whatever anything in the worker prints

The supervisor is this process before it imports anything heavy. It holds the line to the runner, so that the worker, and every
process the worker starts (they share its process group), ends when the runner does, however it ends. It also collects what the
worker took: exact processor time and peak memory, even of a worker that was killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

TOLD_TO_STOP = 143
"""Exit status of a worker that was asked to stop."""


def main() -> int:
    """Supervise one stage."""
    _die_with_parent(signal.SIGTERM)
    job = json.loads(sys.stdin.buffer.readline() or b"null")
    if job is None or os.getppid() != job["runner"]:
        return 1  # the runner died before it could say anything
    events = os.dup(1)
    os.dup2(2, 1)  # stray prints must not mix with the events
    worker = os.fork()
    if worker == 0:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        _die_with_parent(signal.SIGKILL)
        return _work(job, Events(events))
    return _supervise(worker, Events(events))


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


def _supervise(worker: int, events: Events) -> int:
    signal.signal(signal.SIGTERM, lambda *_: _kill_group(worker))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    events.send("started", pid=worker)
    threading.Thread(target=_obey, args=(worker,), daemon=True).start()
    _, status, usage = os.wait4(worker, 0)
    _kill_group(worker)  # what the worker started and left behind
    unit = 1 if sys.platform == "darwin" else 1024
    events.send(
        "exit",
        status=os.waitstatus_to_exitcode(status),
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_memory_bytes=usage.ru_maxrss * unit,
    )
    os._exit(0)  # the thread may sit in a read that never ends


def _obey(worker: int) -> None:
    while line := os.read(0, 4096):
        if b"stop" in line:
            os.kill(worker, signal.SIGTERM)
    _kill_group(worker)


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
    sys.exit(main())
