"""What each run used: one small file per run, naming the results it stands on and how it ended.

    store/runs/<name>/<id>.json     id = start in UTC and six random digits, so that ids sort by time

Written when the run starts, when a stage is done, and at the end. A run whose process is gone without a word counts as
interrupted.

Does not know: what a recipe or a verdict says; both are kept as the plain data they came as.
"""

from __future__ import annotations

import re
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import Field, ValidationError

from lmpipe.base.errors import RecipeError, StoreError
from lmpipe.base.files import read_json, write_json
from lmpipe.pipeline import events
from lmpipe.pipeline.interruption import Interrupted
from lmpipe.pipeline.machine import lmpipe_version, redacted
from lmpipe.pipeline.owner import Owner, this_process
from lmpipe.pipeline.record import Part, Record
from lmpipe.pipeline.store import Store

Status = Literal["running", "finished", "failed", "interrupted"]
WRITE_SECONDS = 1.0
"""How often hits are written down; a run of hits alone takes milliseconds, and syncing a file takes some as well."""


class RunStage(Part):
    """One stage of a run."""

    name: str
    status: Literal["hit", "computed"]
    fingerprint: str
    content_digest: str
    seconds: float
    """What computing it took, now or when it was computed."""


class RunFailure(Part):
    """What ended a run."""

    stage: str
    error: dict[str, str]
    """`LmpipeError.to_json`."""


class RunRecord(Part):
    """One run."""

    format: str = "lmpipe-run"
    format_version: int = 1
    id: str
    name: str
    status: Status
    recipe: dict[str, Any]
    stages: list[RunStage] = Field(default_factory=list)
    planned: list[str] = Field(default_factory=list)
    """Names of all stages of the run, in order."""
    started_at: datetime
    finished_at: datetime | None = None
    verdict: dict[str, Any] | None = None
    failure: RunFailure | None = None
    extra: dict[str, Any] = Field(default_factory=dict)
    lmpipe: str
    argv: list[str] = Field(default_factory=list)
    owner: Owner

    @property
    def seconds(self) -> float:
        """From start to end; 0 for a run that has not ended."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else 0.0

    @property
    def verdict_word(self) -> str:
        """The verdict's own word, or ""."""
        return str((self.verdict or {}).get("verdict", ""))

    def stage(self, name: str) -> RunStage | None:
        """The stage called `name`, if the run got that far."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return self.model_dump(mode="json")


class RunLog:
    """A listener that keeps a run's record up to date and passes every event on."""

    def __init__(
        self,
        store: Store,
        name: str,
        recipe: Mapping[str, Any],
        *,
        inner: events.RunProgress | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        now = datetime.now(UTC)
        self.store = store
        self.inner = inner or events.Quiet()
        self.record = RunRecord(
            id=f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}",
            name=name,
            status="running",
            recipe=dict(recipe),
            started_at=now,
            extra=dict(extra or {}),
            lmpipe=lmpipe_version(),
            argv=[redacted(argument) for argument in sys.argv],
            owner=this_process(),
        )
        self._written_at = 0.0

    def handle(self, event: events.Event) -> None:
        """Take one event of the run."""
        match event:
            case events.RunStarted():
                self._write(planned=list(event.stages))
            case events.StageHit():
                self._add(event.record, "hit")
            case events.StageFinished():
                self._add(event.record, "computed")
            case events.StageFailed():
                status = "interrupted" if isinstance(event.error, Interrupted) else "failed"
                failure = RunFailure(stage=event.stage, error=event.error.to_json())
                with suppress(StoreError):  # a full disk may be why the run failed, and that must be told, not this
                    self._write(status=status, failure=failure, finished_at=datetime.now(UTC))
        self.inner.handle(event)

    def close(self, *, verdict: Mapping[str, Any] | None = None, extra: Mapping[str, Any] | None = None) -> RunRecord:
        """End the record: finished when every planned stage is there, interrupted otherwise; a run that failed stays failed."""
        status = self.record.status
        if status == "running":
            complete = self.record.planned and {stage.name for stage in self.record.stages} >= set(self.record.planned)
            status = "finished" if complete else "interrupted"
        self._write(
            status=status,
            verdict=dict(verdict) if verdict is not None else self.record.verdict,
            extra={**self.record.extra, **(extra or {})},
            finished_at=self.record.finished_at or datetime.now(UTC),
        )
        return self.record

    def _add(self, record: Record, status: Literal["hit", "computed"]) -> None:
        stage = RunStage(
            name=record.stage,
            status=status,
            fingerprint=record.fingerprint,
            content_digest=record.content_digest,
            seconds=record.seconds,
        )
        self.record = self.record.model_copy(update={"stages": [*self.record.stages, stage]})
        if status == "computed" or time.monotonic() - self._written_at > WRITE_SECONDS:
            self._write()

    def _write(self, **changed: Any) -> None:
        self.record = self.record.model_copy(update=changed)
        folder = re.sub(r"[^A-Za-z0-9_.-]", "-", self.record.name).lstrip(".") or "run"
        path = self.store.root / "runs" / folder / f"{self.record.id}.json"
        write_json(path, self.record.to_json())
        self.store.push_run(path)
        self._written_at = time.monotonic()


def list_runs(store: Store, name: str | None = None) -> list[RunRecord]:
    """All runs, or those of one name, newest first. A file that is no run record is passed over."""
    runs = []
    for path in store.run_files():
        try:
            run = RunRecord.model_validate(read_json(path))
        except (OSError, ValueError, ValidationError):
            continue
        if name is None or run.name == name:
            runs.append(_as_it_is(run))
    return sorted(runs, key=lambda run: (run.started_at, run.id), reverse=True)


def _as_it_is(run: RunRecord) -> RunRecord:
    gone = run.status == "running" and run.owner.is_dead()
    return run.model_copy(update={"status": "interrupted"}) if gone else run


def find_run(store: Store, reference: str) -> RunRecord:
    """The run with this id, with an id that starts so, or the latest of this name.

    Raises:
        RecipeError: when there is none, or several ids start so; names what there is.
    """
    runs = list_runs(store)
    named = [run for run in runs if run.name == reference]
    exact = [run for run in runs if run.id == reference]
    started = [run for run in runs if run.id.startswith(reference)] if reference else []
    found = exact or named or started
    if found and (found is not started or len(started) == 1):
        return found[0]
    if found:
        raise RecipeError(
            f"'{reference}' is the beginning of {len(found)} run ids",
            where=store.url,
            expected="a name, an id, or the beginning of one id only",
            fix="such as " + ", ".join(run.id for run in found[:3]),
        )
    names = list(dict.fromkeys(run.name for run in runs))
    near = get_close_matches(reference, names, n=1)
    raise RecipeError(
        f"no run '{reference}' in this store",
        where=store.url,
        expected=f"one of {', '.join(names[:8])}, or a run's id" if names else "at least one run; this store has none",
        fix=f"did you mean '{near[0]}'?" if near else "`lmpipe show` lists the runs",
    )
