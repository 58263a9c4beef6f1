"""Runs what is missing, in order; kills, crashes and second runs at the same time do no harm.

    for every stage, inputs first:
        identity    from config, version, the content of its inputs and its raw files
        in store?   its files are checked against the record (see `verified`); damage is set aside by name and computed anew
        otherwise   take the lease; look again (somebody may have finished meanwhile); run in a process of its own;
                    digest, record, publish by one rename; give the lease back

Does not know: what stages mean; how progress is shown.
"""

from __future__ import annotations

import dataclasses
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from lmpipe.base.errors import DamagedError, LmpipeError, SourceError, StoreError
from lmpipe.base.files import atomic_file
from lmpipe.base.runtime import Runtime
from lmpipe.pipeline import events
from lmpipe.pipeline.changes import explain
from lmpipe.pipeline.energy import EnergyMeter
from lmpipe.pipeline.execute import Job, Outcome, StageCrash, Supervision, execute
from lmpipe.pipeline.fingerprint import content_digest, fingerprint, identity
from lmpipe.pipeline.graph import order
from lmpipe.pipeline.interruption import Interruption
from lmpipe.pipeline.lease import Holder, Lease
from lmpipe.pipeline.machine import changed_modules, git_state, lmpipe_version, redacted, this_machine
from lmpipe.pipeline.record import Git, InputEntry, Record, SourceEntry
from lmpipe.pipeline.stage import Source, Stage
from lmpipe.pipeline.store import Store, Workspace, open_store
from lmpipe.pipeline.supervisors import Supervisors
from lmpipe.pipeline.verified import hash_files, is_content, scan

EARLIER = 10
"""How many earlier records of a stage a miss is compared with."""


@dataclass(frozen=True)
class StageResult:
    """One stage of a finished run."""

    name: str
    status: Literal["hit", "computed"]
    record: Record
    store: Store

    @property
    def path(self) -> Path:
        """The folder with its files; of a remote store fetched now, if they are not here yet.

        Raises:
            DamagedError: when what is fetched is not what the record says.
        """
        return self.store.fetch(self.record)


@dataclass(frozen=True)
class RunResult:
    """A finished run, in order."""

    stages: list[StageResult]
    seconds: float

    def __getitem__(self, name: str) -> StageResult:
        """The stage called `name`.

        Raises:
            KeyError: when the run has none.
        """
        return {result.name: result for result in self.stages}[name]


def run(stages: Sequence[Stage], runtime: Runtime, progress: events.RunProgress | None = None) -> RunResult:
    """Have every stage, and everything it stands on, in the store of `runtime`.

    Raises:
        LmpipeError: of the stage that failed (after a `StageFailed` event); what was finished before stays in the store.
        Interrupted: on Ctrl-C or SIGTERM.
    """
    started = time.perf_counter()
    ordered = order(stages)
    store = open_store(runtime.store)
    progress = progress or events.Quiet()
    progress.handle(events.RunStarted(tuple(stage.name for stage in ordered), store.url))
    with Interruption() as interruption, Supervisors() as supervisors:
        runner = Runner(store, runtime, progress, interruption, supervisors)
        for stage in ordered:
            runner.have(stage)
        runner.warn_of_changed_code()
    result = RunResult(list(runner.results.values()), time.perf_counter() - started)
    progress.handle(events.RunFinished(result.seconds))
    return result


@dataclass(frozen=True)
class Identified:
    """A stage whose inputs are there, and what it is."""

    stage: Stage
    inputs: Mapping[str, Record]
    sources: list[Source]
    digests: Mapping[str, str]
    payload: Mapping[str, Any]
    fingerprint: str


def identify(stage: Stage, inputs: Mapping[str, Record], sources: list[Source], digests: Mapping[str, str]) -> Identified:
    """Put a stage's identity together."""
    payload = identity(stage, {role: record.content_digest for role, record in inputs.items()}, digests)
    return Identified(stage, inputs, sources, digests, payload, fingerprint(payload))


class Runner:
    """One run. `results` grows stage by stage."""

    def __init__(
        self,
        store: Store,
        runtime: Runtime,
        progress: events.RunProgress,
        interruption: Interruption,
        supervisors: Supervisors,
    ) -> None:
        self.store = store
        self.runtime = runtime
        self.progress = progress
        self.interruption = interruption
        self.supervisors = supervisors
        self.results: dict[str, StageResult] = {}
        self._git: list[Git | None] = []

    def have(self, stage: Stage) -> StageResult:
        """Have one stage's result in the store; its inputs are in `results` already."""
        try:
            known = self._identify(stage)
            status: Literal["hit", "computed"] = "hit"
            record = self._hit(known)
            if record is None:
                record, status = self._miss(known)
            else:
                self._tidy(known)
        except (LmpipeError, OSError) as error:
            told = error if isinstance(error, LmpipeError) else _file_error(error)
            self._keep_traceback(stage, told)
            self.progress.handle(events.StageFailed(stage.name, told))
            raise told from error.__cause__ if told is error else error
        happened = events.StageHit if status == "hit" else events.StageFinished
        self.progress.handle(happened(stage.name, record))
        self.results[stage.name] = result = StageResult(stage.name, status, record, self.store)
        return result

    def _identify(self, stage: Stage) -> Identified:
        inputs = {role: self.results[upstream.name].record for role, upstream in stage.inputs.items()}
        sources = stage.sources() if stage.sources else []
        digests = self.store.digests.digests(sources, events.StageReporter(stage.name, self.progress))
        return identify(stage, inputs, sources, digests)

    # -- hits

    def _hit(self, known: Identified) -> Record | None:
        """The record of a sound result in the store."""
        name = known.stage.name
        try:
            record = self.store.find(name, known.fingerprint)
        except DamagedError:
            return None  # `_miss` looks again, under the lease, and sets it aside
        if record is None or self.store.damage(record):
            return None
        self.store.share(record)
        return record

    def _tidy(self, known: Identified) -> None:
        """Remove what is left when a kill came between publishing and giving the lease back."""
        place = known.stage.name, known.fingerprint
        if not (self.store.scratch_of(*place).exists() or self.store.lease_path(*place).exists()):
            return
        lease = self.store.lease_at_once(*place)
        if lease is not None:
            with lease:
                self.store.forget_scratch(*place)

    # -- misses

    def _miss(self, known: Identified) -> tuple[Record, Literal["hit", "computed"]]:
        while True:
            with self.store.lease(known.stage.name, known.fingerprint, self._announcer(known.stage)) as lease:
                self._set_damage_aside(known)
                record = self._hit(known)
                if record is not None:  # whoever held the lease computed it
                    self.store.forget_scratch(known.stage.name, known.fingerprint)
                    return record, "hit"
                record = self._compute(known, lease)
                if record is not None:
                    return record, "computed"
            self._note(known.stage, "another process took this stage over while this one was paused; waiting for it")

    def _announcer(self, stage: Stage) -> Callable[[Holder], None]:
        announced: set[str] = set()

        def announce(holder: Holder) -> None:
            if holder.token not in announced:
                announced.add(holder.token)
                self._note(stage, f"waiting for stage {stage.name}, held by {holder}")

        return announce

    def _note(self, stage: Stage, text: str) -> None:
        self.progress.handle(events.StageNote(stage.name, text))

    def _set_damage_aside(self, known: Identified) -> None:
        """Move a damaged result away, so that it can be computed anew; say which file and where it went."""
        name = known.stage.name
        try:
            record = self.store.find(name, known.fingerprint)
            damage = self.store.damage(record) if record else []
            found = ", ".join(str(item) for item in damage[:3]) + (f" and {len(damage) - 3} more" if len(damage) > 3 else "")
        except DamagedError as error:
            record, damage, found = None, [], error.what
        if record and damage and all(item.kind == "unexpected" for item in damage):
            place = self.store.set_aside_strays(record, damage)
            self._note(known.stage, f"the stored result of {name} held files that are not its own ({found}); moved to {place}")
        elif found:
            place = self.store.quarantine(name, known.fingerprint)
            self._note(known.stage, f"the stored result of {name} is damaged: {found}; moved to {place}, computing it anew")

    def _compute(self, known: Identified, lease: Lease) -> Record | None:
        """Run the stage and publish; None when the lease was lost on the way."""
        stage = known.stage
        workspace = self.store.begin(stage.name, known.fingerprint)
        why = tuple(explain(known.payload, self.store.records(stage.name, EARLIER)))
        started = events.StageStarted(stage.name, known.fingerprint, why, workspace.resumes, stage.cost_hint)
        self.progress.handle(started)
        try:
            job = self._job(known, workspace)
            observed = _Observed(self._git_state())
            watched = lease.lost.is_set, observed.meter.sample, lease.covers
            supervision = Supervision(self.interruption, *watched, self.supervisors)
            reporter = events.StageReporter(stage.name, self.progress)
            outcome = execute(job, reporter, supervision)
            reporter.flush()
            self._check_sources(known)
            record = _record(known, workspace, outcome, observed, self.runtime)
            if not lease.is_held():
                return None
            self.store.publish(workspace, record)
        except LmpipeError:
            if lease.lost.is_set() and not self.interruption.signum:
                return None
            raise
        finally:
            self.store.abandon(workspace)
        return self.store.find(stage.name, known.fingerprint)

    def _job(self, known: Identified, workspace: Workspace) -> Job:
        return Job(
            stage=known.stage.name,
            run=known.stage.run,
            config=known.stage.config,
            inputs={role: self.results[upstream.name].path for role, upstream in known.stage.inputs.items()},
            sources=known.sources,
            digests=dict(known.digests),
            output=workspace.output,
            scratch=workspace.scratch,
            observed=workspace.observed,
            answers=self.store.answers,
            runtime=self.runtime,
            lower=str(known.stage.cost_hint.get("lower", "")),
            preload=known.stage.preload,
        )

    def _git_state(self) -> Git | None:
        if not self._git:
            self._git.append(git_state())
        return self._git[0]

    def _check_sources(self, known: Identified) -> None:
        """Raw files must not have changed while they were read: the identity would be of other bytes than the output."""
        if not known.stage.sources:
            return
        before = {source.name: (source.url, source.size, source.stamp) for source in known.sources}
        after = {source.name: (source.url, source.size, source.stamp) for source in known.stage.sources()}
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        if changed:
            raise SourceError(
                f"raw text changed while it was read: {', '.join(changed[:3])}" + (" ..." if len(changed) > 3 else ""),
                where=f"stage '{known.stage.name}'",
                expected="files that stay as they are during a run",
                fix="run again once nothing writes to them any more",
            )

    # -- what is said

    def _keep_traceback(self, stage: Stage, error: LmpipeError) -> None:
        """Leave the traceback of a crash in a file and name it: too long for a message, needed for a report."""
        if not isinstance(error, StageCrash) or not error.traceback:
            return
        path = self.store.root / ".failed" / f"{stage.name}.txt"
        try:
            with atomic_file(path, "w", encoding="utf-8") as file:
                file.write(f"{error}\n\n{error.traceback}\n")
        except (OSError, StoreError):
            return
        error.fix = f"please report it with the traceback in {path}; the same command tries again"

    def warn_of_changed_code(self) -> None:
        """Name the hits whose code is another by now. They are kept: only the author knows whether the meaning changed."""
        seen: dict[str, str] = {}
        for result in self.results.values():
            if result.status == "hit" and (modules := changed_modules(result.record.code, seen)):
                names = ", ".join(modules[:3]) + (f" and {len(modules) - 3} more" if len(modules) > 3 else "")
                text = f"code changed since it was computed ({names}), version {result.record.version} did not; kept"
                self.progress.handle(events.StageNote(result.name, text))


SIDE_BY_SIDE = "peak_memory_bytes_by_process"
"""A fact of stages that ran processes side by side: their peaks add up."""


def _file_error(error: OSError) -> StoreError:
    """A refusal of the file system that nobody foresaw: a broken disk, a network drive that is gone."""
    return StoreError(
        f"the file system refused: {error.strerror or error}",
        where=str(error.filename or ""),
        expected="a store and raw files that can be read and written",
        fix="see that the disk or network drive is there; the same command then goes on",
    )


class _Observed:
    """What is watched while a stage runs."""

    def __init__(self, git: Git | None) -> None:
        self.git = git
        self.meter = EnergyMeter()
        self.started_at = datetime.now(UTC)
        self._started = time.perf_counter()

    def seconds(self) -> float:
        """Since it was made."""
        return time.perf_counter() - self._started


def _record(known: Identified, workspace: Workspace, outcome: Outcome, observed: _Observed, runtime: Runtime) -> Record:
    energy, seconds = observed.meter.finish(outcome.cpu_seconds), observed.seconds()
    files = hash_files(workspace.output, scan(workspace.output))
    content = {path: entry for path, entry in files.items() if is_content(path)}
    inputs = {
        role: InputEntry(stage=r.stage, fingerprint=r.fingerprint, content_digest=r.content_digest)
        for role, r in known.inputs.items()
    }
    return Record(
        stage=known.stage.name,
        version=known.stage.version,
        fingerprint=known.fingerprint,
        config=known.payload["config"],
        inputs=inputs,
        sources={s.name: SourceEntry(url=redacted(s.url), sha256=known.digests[s.name], bytes=s.size) for s in known.sources},
        content_digest=content_digest({path: entry.sha256 for path, entry in content.items()}),
        files=content,
        observed={path: entry for path, entry in files.items() if path not in content},
        facts=outcome.done.facts,
        code=outcome.done.code,
        lmpipe=lmpipe_version(),
        python=platform.python_version(),
        libraries=outcome.done.libraries,
        machine=this_machine(),
        runtime=_runtime(runtime),
        argv=[redacted(argument) for argument in sys.argv],
        git=observed.git,
        started_at=observed.started_at,
        finished_at=datetime.now(UTC),
        seconds=seconds,
        cpu_seconds=outcome.cpu_seconds,
        peak_memory_bytes=max(outcome.peak_memory_bytes, sum(outcome.done.facts.get(SIDE_BY_SIDE, []))),
        energy=energy,
    )


def _runtime(runtime: Runtime) -> dict[str, Any]:
    resolved = {"threads": runtime.resolved_threads(), "workers": runtime.resolved_workers()}
    return {**dataclasses.asdict(runtime), **resolved, "store": redacted(runtime.store)}
