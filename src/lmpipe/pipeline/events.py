"""What a run says while it runs. A terminal, a notebook or a run record listens to one method, `handle`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lmpipe.base.errors import LmpipeError
from lmpipe.pipeline.record import Record
from lmpipe.pipeline.thinning import Thinned


@dataclass(frozen=True)
class RunStarted:
    """The stages of the run, in order."""

    stages: tuple[str, ...]
    store: str


@dataclass(frozen=True)
class StageHit:
    """The stage's result is in the store already."""

    stage: str
    record: Record


@dataclass(frozen=True)
class StageStarted:
    """The stage is computed from now on."""

    stage: str
    fingerprint: str
    changes: tuple[str, ...]
    """Why no stored result fits, field by field, as in a plan."""
    resumes: bool
    """Scratch of an earlier, interrupted attempt was found."""
    cost_hint: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StageProgress:
    """How far the stage is; at most ten a second."""

    stage: str
    done: float
    total: float | None
    unit: str
    values: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class StageNote:
    """One line worth seeing once."""

    stage: str
    text: str


@dataclass(frozen=True)
class StageOutput:
    """One line that the stage's code, or a library in it, printed."""

    stage: str
    text: str


@dataclass(frozen=True)
class StageFinished:
    """The stage was computed and published."""

    stage: str
    record: Record


@dataclass(frozen=True)
class StageFailed:
    """The stage failed or was interrupted; the run ends with this error."""

    stage: str
    error: LmpipeError


@dataclass(frozen=True)
class RunFinished:
    """Every stage is in the store."""

    seconds: float


Event = (
    RunStarted | StageHit | StageStarted | StageProgress | StageNote | StageOutput | StageFinished | StageFailed | RunFinished
)


class RunProgress(Protocol):
    """Listens to a run. Called from the thread that runs, in order; must not raise."""

    def handle(self, event: Event) -> None:
        """Take one event."""


class Quiet:
    """Listens to nothing."""

    def handle(self, event: Event) -> None:
        """Ignore."""


class StageReporter:
    """The `base.progress.Progress` of one stage, as events of its run."""

    def __init__(self, stage: str, progress: RunProgress) -> None:
        self.stage = stage
        self.progress = progress
        self._thinned = Thinned(lambda *parts: progress.handle(StageProgress(stage, *parts)))

    def update(self, done: float, total: float | None, unit: str, **values: float | str) -> None:
        """Pass on as `StageProgress`."""
        self._thinned.update(done, total, unit, values)

    def note(self, text: str) -> None:
        """Pass on as `StageNote`."""
        self.flush()
        self.progress.handle(StageNote(self.stage, text))

    def flush(self) -> None:
        """Pass on the last figure, if it was held back."""
        self._thinned.flush()

    def output(self, text: str) -> None:
        """Pass on a printed line as `StageOutput`."""
        self.progress.handle(StageOutput(self.stage, text))
