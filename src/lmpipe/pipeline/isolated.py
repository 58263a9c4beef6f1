"""The runner's side of a stage's own process: ask for it, listen to it, stop it, and say how it ended.

A process of its own gives every stage exact figures, fresh memory, threads as the runtime says, and a death that takes nobody
along. It is forked from one of the run's `supervisors.py`; `child.py` is the other side and draws the lines between the two.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lmpipe.base.config import Config
from lmpipe.base.errors import LmpipeError, StageError, error_from_json
from lmpipe.base.files import free_bytes
from lmpipe.base.runtime import Runtime
from lmpipe.pipeline.execute import Done, Job, Outcome, Reporter, StageCrash, Supervision, disk_full, out_of_memory
from lmpipe.pipeline.interruption import GRACE_SECONDS, interrupted
from lmpipe.pipeline.record import Code
from lmpipe.pipeline.stage import Source
from lmpipe.pipeline.supervisors import EXIT_SECONDS, Supervisor, end, hang_up

LINES_KEPT = 40
"""Printed lines kept for the error of a stage that dies."""
FULL_BYTES = 1 << 20


def execute_isolated(job: Job, reporter: Reporter, supervision: Supervision) -> Outcome:
    """Run a job in a process of its own; see `execute.execute`."""
    process = supervision.supervisors.have(job.preload, job.runtime)
    conversation = _Conversation(process, job, reporter, supervision)
    try:
        with supervision.interruption.deferred(lambda: True):
            conversation.hold()
    finally:
        conversation.end()
    return conversation.outcome()


class _Conversation:
    """What is said between runner and stage, and what came of it."""

    def __init__(self, process: Supervisor, job: Job, reporter: Reporter, supervision: Supervision) -> None:
        self.process = process
        self.job = job
        self.reporter = reporter
        self.supervision = supervision
        self.printed: deque[str] = deque(maxlen=LINES_KEPT)
        self.answer: dict[str, Any] = {}
        self.exit: dict[str, Any] = {}
        self.deadline: float | None = None
        self.told = False
        self.worker = 0
        self._rest = {"events": b"", "printed": b""}

    def hold(self) -> None:
        """Talk until the stage's process has ended."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._say(json.dumps(job_to_json(self.job)))
        self.supervision.started(self.process.pid)
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ, "events")
            selector.register(self.process.stderr, selectors.EVENT_READ, "printed")
            while selector.get_map() and not (self._ended() and self._drained(selector)):
                for key, _ in selector.select(timeout=0.2):
                    data = os.read(key.fd, 1 << 16)
                    if data:
                        self._hear(key.data, data)
                    else:
                        selector.unregister(key.fileobj)
                self.supervision.tick()
                self._watch()

    def _ended(self) -> bool:
        """Whether nothing works for the stage any more: its supervisor has said so, or is gone itself."""
        return bool(self.exit) or self.process.poll() is not None

    def _drained(self, selector: selectors.BaseSelector) -> bool:
        """Nothing more to read. A process that left the group may hold the pipes open for ever; it is not waited for."""
        return not selector.select(timeout=0)

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already; how, the exit tells
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def _hear(self, kind: str, data: bytes) -> None:
        *lines, self._rest[kind] = (self._rest[kind] + data).split(b"\n")
        for line in lines:
            if kind == "printed":
                text = line.decode(errors="replace").rstrip()
                self.printed.append(text)
                self.reporter.output(text)
            else:
                self._take(line)

    def _take(self, line: bytes) -> None:
        start = line.rfind(b'{"event"')  # a worker killed in the middle of a line leaves its beginning
        try:
            event = json.loads(line[max(start, 0) :])
        except ValueError:
            return
        match event.pop("event", ""):
            case "progress":
                self.reporter.update(event["done"], event["total"], event["unit"], **event["values"])
            case "note":
                self.reporter.note(event["text"])
            case "done" | "error" | "crash" as kind:
                self.answer = {"kind": kind, **event}
                self.deadline = time.monotonic() + EXIT_SECONDS
            case "started":
                self.worker = int(event["pid"])
            case "exit":
                self.exit = event

    def _watch(self) -> None:
        """Stop the process when asked to, when the lease is lost, or when it does not end."""
        interruption = self.supervision.interruption
        if interruption.signum and not self.told:
            self.told = True
            self.deadline = time.monotonic() + GRACE_SECONDS
            self.reporter.note(f"asked to stop; the stage may take {GRACE_SECONDS:.0f} s to save its work")
            self._say("stop")
        if self.supervision.lost() or (self.deadline is not None and time.monotonic() > self.deadline):
            hang_up(self.process)

    def end(self) -> None:
        """Whatever happened, leave no process at work. A supervisor that is not through with its stage is not used again."""
        if self.exit:
            return
        end(self.process)
        if self.worker:  # the supervisor may have been killed itself: end the group in its place
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.worker, signal.SIGKILL)

    def outcome(self) -> Outcome:
        """What it took, or the error that ended it."""
        if self.supervision.interruption.signum:
            raise interrupted(self.supervision.interruption.signum)
        if self.answer.get("kind") == "done":
            done = Done(self.answer["facts"], Code.model_validate(self.answer["code"]), self.answer["libraries"])
            return Outcome(done, self.exit.get("cpu_seconds", 0.0), self.exit.get("peak_memory_bytes", 0))
        raise self._error()

    def _error(self) -> LmpipeError:
        if self.answer.get("kind") == "error":
            return error_from_json(self.answer["error"])
        if self.answer.get("kind") == "crash":
            parts = {key: value for key, value in self.answer["error"].items() if key != "error"}
            return StageCrash(**parts, traceback=self.answer["traceback"])
        status = int(self.exit["status"]) if self.exit else self.process.returncode
        if free_bytes(self.job.output) < FULL_BYTES:  # writing to a mapped file on a full disk is a bus error, not an exception
            return disk_full(self.job.output)
        if status == -signal.SIGKILL:
            what = "was killed (signal 9), most likely by the system because memory ran out"
            return out_of_memory(self.job, what, self.exit.get("peak_memory_bytes", 0))
        ended = f"died of {signal.Signals(-status).name}" if status < 0 else f"ended with status {status} and without a word"
        printed = "\n".join(self.printed)
        return StageCrash(
            f"stage '{self.job.stage}' {ended}",
            where=next((line for line in reversed(self.printed) if line.strip()), ""),
            expected="a function that returns or raises",
            fix="please report it with what the stage printed; the same command tries again",
            traceback=printed,
        )


def job_to_json(job: Job) -> dict[str, Any]:
    """A job as plain data for the stage's process."""
    cls = type(job.config)
    if "<locals>" in cls.__qualname__ or cls.__module__ == "__main__":
        raise StageError(
            f"the config class {cls.__qualname__} of stage '{job.stage}' cannot be imported by another process",
            expected="a class on the top level of a module",
            fix="move it into a file, or run with isolate=False",
        )
    return {
        "stage": job.stage,
        "run": job.run,
        "config_class": f"{cls.__module__}:{cls.__qualname__}",
        "config": job.config.model_dump(mode="json"),
        "inputs": {role: str(path) for role, path in job.inputs.items()},
        "sources": [[s.name, s.url, s.size, s.stamp, job.digests[s.name]] for s in job.sources],
        "output": str(job.output),
        "scratch": str(job.scratch),
        "observed": str(job.observed),
        "answers": str(job.answers),
        "runtime": dataclasses.asdict(job.runtime),
        "lower": job.lower,
        "preload": job.preload,
    }


def job_from_json(value: dict[str, Any]) -> Job:
    """The inverse of `job_to_json`, in the stage's process.

    Raises:
        StageError: when the config does not survive the journey; it would not be what was hashed.
    """
    config = _config_class(value["config_class"]).model_validate(value["config"])
    if config.model_dump(mode="json") != value["config"]:
        raise StageError(
            f"{value['config_class']} changes when written as JSON and read back", where=f"stage '{value['stage']}'"
        )
    digests = {name: digest for name, _, _, _, digest in value["sources"]}
    return Job(
        stage=value["stage"],
        run=value["run"],
        config=config,
        inputs={role: Path(path) for role, path in value["inputs"].items()},
        sources=[Source(n, url, size, stamp, _constant(digest)) for n, url, size, stamp, digest in value["sources"]],
        digests=digests,
        output=Path(value["output"]),
        scratch=Path(value["scratch"]),
        observed=Path(value["observed"]),
        answers=Path(value["answers"]),
        runtime=Runtime(**value["runtime"]),
        lower=value["lower"],
        preload=tuple(value["preload"]),
    )


def _config_class(path: str) -> type[Config]:
    module, _, names = path.partition(":")
    found: Any = importlib.import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    return found  # type: ignore[no-any-return]


def _constant(digest: str) -> Callable[[], str]:
    return lambda: digest
