"""Calling a stage's function: in this process or in one of its own, with the same meaning.

Does not know: stores, leases, identities. It gets folders and gives back what was observed.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import resource
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lmpipe.base.canonical import canonical_json
from lmpipe.base.config import Config
from lmpipe.base.errors import LmpipeError, StageError, StoreError
from lmpipe.base.files import storing
from lmpipe.base.runtime import Runtime
from lmpipe.pipeline.interruption import Interruption, interrupted
from lmpipe.pipeline.machine import loaded_code, loaded_libraries, memory_limit_bytes
from lmpipe.pipeline.record import Code
from lmpipe.pipeline.stage import Source, Work
from lmpipe.pipeline.supervisors import Supervisors


@dataclass(frozen=True)
class Job:
    """One attempt at a stage, with everything its function needs."""

    stage: str
    run: str
    config: Config
    inputs: dict[str, Path]
    sources: list[Source]
    digests: dict[str, str]
    """sha256 by source name: the stage's process is told, and does not read the files for it again."""
    output: Path
    scratch: Path
    observed: Path
    answers: Path
    runtime: Runtime
    lower: str = ""
    """What to lower when memory runs out."""
    preload: tuple[str, ...] = ()
    """As `Stage.preload`."""


@dataclass(frozen=True)
class Done:
    """What a stage's function left, beside its files."""

    facts: dict[str, Any]
    code: Code
    libraries: dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """A finished attempt and what it took."""

    done: Done
    cpu_seconds: float
    peak_memory_bytes: int


class Reporter(Protocol):
    """Where a job's progress, notes and printed lines go."""

    def update(self, done: float, total: float | None, unit: str, **values: float | str) -> None:
        """As `base.progress.Progress.update`."""

    def note(self, text: str) -> None:
        """As `base.progress.Progress.note`."""

    def output(self, text: str) -> None:
        """One printed line."""


@dataclass
class Supervision:
    """What whoever runs a job looks at while it runs."""

    interruption: Interruption = field(default_factory=Interruption)
    lost: Callable[[], bool] = lambda: False
    """True when somebody else took the stage over: the job must end at once."""
    tick: Callable[[], None] = lambda: None
    """Called now and then."""
    started: Callable[[int], None] = lambda pid: None
    """Called with the number of the process that the job runs in."""
    supervisors: Supervisors = field(default_factory=Supervisors)
    """What the job's process is forked from. Whoever gives them ends them."""


class StageCrash(StageError):
    """A stage failed with an exception that is no `LmpipeError`; `traceback` keeps the whole story for a report."""

    def __init__(self, what: str, *, where: str = "", expected: str = "", fix: str = "", traceback: str = "") -> None:
        super().__init__(what, where=where, expected=expected, fix=fix)
        self.traceback = traceback


def perform(job: Job, work: Work) -> Done:
    """Import the stage's function, call it, and see what it left.

    Raises:
        StageError: when the function cannot be found or its facts are not JSON.
    """
    function = _function(job.run)
    function(work)
    try:
        canonical_json(work.facts)
    except TypeError as error:
        raise StageError(f"the facts of stage '{job.stage}' are not plain JSON: {error}", where=job.run) from error
    return Done(dict(work.facts), loaded_code(job.run), loaded_libraries())


def _function(path: str) -> Callable[[Work], object]:
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise StageError(f"no module '{module}' for the stage function {path}", expected="module:function") from error
    except AttributeError as error:
        raise StageError(f"no '{name}' in {module} for the stage function {path}", expected="module:function") from error
    if not callable(found):
        raise StageError(f"{path} is not a function", expected="module:function")
    return found  # type: ignore[no-any-return]


def work_of(job: Job, progress: Reporter, stopping: Callable[[], bool]) -> Work:
    """What the function gets."""
    return Work(
        config=job.config,
        inputs=dict(job.inputs),
        sources=job.sources,
        output=job.output,
        scratch=job.scratch,
        observed=job.observed,
        answers=job.answers,
        runtime=job.runtime,
        progress=progress,
        stopping=stopping,
    )


def execute(job: Job, reporter: Reporter, supervision: Supervision) -> Outcome:
    """Run a job to its end.

    Raises:
        LmpipeError: of the stage, by its own type; `StageCrash` for any other exception; `StageError` for a killed process.
        Interrupted: when the user asked to stop.
    """
    if job.runtime.isolate:
        from lmpipe.pipeline.isolated import execute_isolated

        return execute_isolated(job, reporter, supervision)
    return _execute_here(job, reporter, supervision)


def _execute_here(job: Job, reporter: Reporter, supervision: Supervision) -> Outcome:
    interruption = supervision.interruption
    listening = False

    def stopping() -> bool:
        nonlocal listening
        listening = True
        supervision.tick()
        return interruption.signum != 0 or supervision.lost()

    before = _cpu_seconds()
    try:
        with interruption.deferred(lambda: listening):
            done = perform(job, work_of(job, reporter, stopping))
    except LmpipeError:
        raise
    except Exception as error:
        raise describe(error, job) from error
    if interruption.signum:
        raise interrupted(interruption.signum)
    return Outcome(done, _cpu_seconds() - before, peak_memory_here())


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_memory_here() -> int:
    """The most memory that this process has used so far, in bytes."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):  # unlike ru_maxrss it does not inherit the size of the process that started this one
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


MEMORY = re.compile(r"out of memory|can't allocate memory|cannot allocate memory|bad_alloc|malloc of size", re.IGNORECASE)
DISK = re.compile(r"no space left on device|disk quota exceeded|os error 28\b", re.IGNORECASE)
"""Libraries in other languages lose the error's number and keep only its text: safetensors, tokenizers, Arrow, PyTorch."""


def describe(error: Exception, job: Job) -> LmpipeError:
    """An unexpected exception as an error for people: a full disk, too little memory, or a crash with its traceback."""
    chain = list(_chain(error))
    if any(getattr(e, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or DISK.search(str(e)) for e in chain):
        return disk_full(job.output)
    denied = next((e for e in chain if isinstance(e, PermissionError) and e.filename), None)
    if denied is not None:
        return StoreError(
            f"no permission for {denied.filename}",
            where=f"stage '{job.stage}'",
            expected="a file or folder that this user may use",
            fix="change its permissions; the same command then goes on",
        )
    if any(isinstance(e, MemoryError) or MEMORY.search(str(e)) for e in chain):
        return out_of_memory(job, f"failed for lack of memory ({type(error).__name__})", peak_memory_here())
    return crash(job.stage, error)


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def disk_full(path: Path) -> LmpipeError:
    """The error of `base.files.storing` for a full disk."""
    try:
        with storing(path):
            raise OSError(errno.ENOSPC, "no space left on device")
    except StoreError as error:
        return error


def out_of_memory(job: Job, what: str, peak_bytes: int) -> StageError:
    """The error for a stage that needed more memory than there is."""
    return StageError(
        f"stage '{job.stage}' {what}",
        where=f"at least {peak_bytes / 1e6:,.0f} MB used in one process; {memory_limit_bytes() / 1e6:,.0f} MB may be used here",
        expected="a stage that fits into memory",
        fix=f"lower {job.lower}" if job.lower else "close other programs, lower --workers, or give the stage less at once",
    )


def crash(stage: str, error: BaseException) -> StageCrash:
    """The error for an exception that nobody expected."""
    text = "".join(traceback.format_exception(error))
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    return crash_of(stage, f"{type(error).__name__}: {error}", place, text)


def crash_of(stage: str, summary: str, place: str, text: str) -> StageCrash:
    """`crash`, from the parts that a stage's process sends."""
    return StageCrash(
        f"stage '{stage}' failed unexpectedly: {summary}",
        where=place,
        expected="no exception of this kind: this is a defect of the stage, not of your input",
        fix="please report it with the traceback; the same command tries again",
        traceback=text,
    )
