"""Is a run still what its records say? Every byte is read again, and the chain from result to result is checked.

    files     sha256 and size of every output file as recorded
    records   each fingerprint is the hash of the recorded config, version, inputs, sources; each seal is intact
    chain     the content digest that a stage took in is the one its producer's record gives
    recompute (if asked) chosen stages run again in an empty store, from the same inputs and the same answers from outside: the
              same bytes must come out

The first three show that nothing changed since the run; only the fourth shows that the code makes these bytes.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lmpipe.base.errors import RecipeError, StoreError
from lmpipe.base.progress import Progress, Silent
from lmpipe.base.runtime import Runtime
from lmpipe.pipeline import events
from lmpipe.pipeline.changes import differences
from lmpipe.pipeline.graph import order
from lmpipe.pipeline.interruption import Interruption
from lmpipe.pipeline.record import Record
from lmpipe.pipeline.runner import Runner, StageResult
from lmpipe.pipeline.runs import RunRecord
from lmpipe.pipeline.stage import Stage
from lmpipe.pipeline.store import Store
from lmpipe.pipeline.supervisors import Supervisors
from lmpipe.pipeline.verified import find_damage


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was."""

    stage: str
    what: str
    file: str = ""


@dataclass(frozen=True)
class Recomputed:
    """One stage that was run again."""

    stage: str
    expected: str
    """Content digest of the stored result."""
    actual: str
    differing: list[str] = field(default_factory=list)
    """Files with other bytes, or files that only one of the two has."""
    changes: list[str] = field(default_factory=list)
    """How the stage that was run again differs from the recorded one; if it does, other bytes prove nothing."""

    @property
    def equal(self) -> bool:
        """Whether the same stage gave the same bytes."""
        return self.expected == self.actual and not self.changes


@dataclass(frozen=True)
class Verification:
    """What was looked at and what was found."""

    run: str
    stages: int
    files: int
    bytes: int
    problems: list[Problem]

    @property
    def holds(self) -> bool:
        """Whether everything is as recorded."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {**asdict(self), "holds": self.holds}


def verify_run(store: Store, run: RunRecord, progress: Progress | None = None) -> Verification:
    """Check every result of a run against the records, and the records against each other."""
    progress = progress or Silent()
    problems: list[Problem] = []
    records: dict[str, Record] = {}
    for entry in run.stages:
        try:
            record = store.find(entry.name, entry.fingerprint)
        except StoreError as error:
            problems.append(Problem(entry.name, error.what))
            continue
        if record is None:
            problems.append(Problem(entry.name, "its result is not in the store any more"))
            continue
        records[entry.name] = record
        if record.content_digest != entry.content_digest:
            problems.append(Problem(entry.name, "its record names other content than the run did"))
    total = float(sum(file.bytes for record in records.values() for file in record.files.values()))
    done = 0.0
    for record in records.values():
        problems += _problems_of(record, records, store)
        done += sum(file.bytes for file in record.files.values())
        progress.update(done, total, "bytes", stage=record.stage)
    files = sum(len(record.files) for record in records.values())
    return Verification(run.id, len(records), files, int(total), problems)


def _problems_of(record: Record, records: Mapping[str, Record], store: Store) -> list[Problem]:
    found = [Problem(record.stage, text) for text in record.contradictions()]
    found += [Problem(record.stage, str(item), item.file) for item in store.damage(record, thorough=True)]
    found += [Problem(record.stage, text) for text in _breaks(record, records)]
    return found


def _breaks(record: Record, records: Mapping[str, Record]) -> Iterable[str]:
    for role, entry in record.inputs.items():
        producer = records.get(entry.stage)
        if producer is None:
            yield f"its input '{role}' came from stage '{entry.stage}', of which this run has no sound record"
        elif producer.content_digest != entry.content_digest:
            yield f"its input '{role}' had other bytes than stage '{entry.stage}' has now"


def recompute(
    store: Store,
    run: RunRecord,
    stages: Sequence[Stage],
    names: Sequence[str],
    runtime: Runtime,
    progress: events.RunProgress | None = None,
) -> list[Recomputed]:
    """Run the stages called `names` (or `["all"]`) again, each from its stored inputs, and compare what comes out.

    Raises:
        RecipeError: for a name that is no stage of the run.
        LmpipeError: when a stage fails.
    """
    ordered = order(stages)
    wanted = {stage.name for stage in ordered} if list(names) == ["all"] else set(names)
    records = {entry.name: store.find(entry.name, entry.fingerprint) for entry in run.stages}
    if unknown := sorted(name for name in wanted if records.get(name) is None):
        raise RecipeError(
            f"no stored stage '{unknown[0]}' in run {run.id}",
            expected=f"one of {', '.join(name for name, record in records.items() if record)}, or all",
        )
    fresh = Store(store.root / ".tmp" / f"recompute.{uuid.uuid4().hex[:8]}", answers=store.answers)
    try:
        with Interruption() as interruption, Supervisors() as supervisors:
            return [
                _again(stage, records, store, Runner(fresh, runtime, progress or events.Quiet(), interruption, supervisors))
                for stage in ordered
                if stage.name in wanted
            ]
    finally:
        shutil.rmtree(fresh.root, ignore_errors=True)


def _again(stage: Stage, records: Mapping[str, Record | None], store: Store, runner: Runner) -> Recomputed:
    original = records[stage.name]
    assert original is not None
    for upstream in stage.inputs.values():
        record = records.get(upstream.name)
        if record is None:
            raise RecipeError(f"stage '{stage.name}' needs '{upstream.name}', which this run does not have")
        runner.results[upstream.name] = StageResult(upstream.name, "hit", record, store)
    fresh = runner.have(stage).record
    differing = [item.file for item in find_damage(runner.store.fetch(fresh), original.files, None)]
    changes = differences(original.payload(), fresh.payload())
    return Recomputed(stage.name, original.content_digest, fresh.content_digest, differing, changes)
