"""Where people watch a run, beside TensorBoard: MLflow and Weights & Biases. They change nothing of what is computed.

    curve rows --> Watch.note() --> event file, at once
                               \\-> trackers, every five seconds
    scratch/trackers.json       which tracker run this is and the last row that it has: a resumed run goes on in it

Both stay on this machine unless their own variables say otherwise (`MLFLOW_TRACKING_URI`, `WANDB_MODE`). A tracker that fails
is told and left; training goes on. Rows of the five seconds before a kill may be told twice.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from lmpipe.base.errors import MissingExtraError, RecipeError
from lmpipe.base.extras import EXTRAS, require
from lmpipe.base.files import read_json, write_json
from lmpipe.base.progress import Progress
from lmpipe.training.tensorboard import EventFile

PROJECT = "lmpipe"
"""MLflow's experiment and Weights & Biases' project, where `MLFLOW_EXPERIMENT_NAME` and `WANDB_PROJECT` name no other."""
SECONDS = 5.0
"""Rows are handed over in lots: MLflow's database takes some 10 ms for one, however long."""
PARAMS_AT_ONCE, METRICS_AT_ONCE, PARAM_LENGTH = 100, 1000, 6000
"""What MLflow takes in one request, and as one parameter."""

Place = tuple[int, bool]
"""Of a row in the curve: its step, and whether it is the validation that follows it."""


class Tracker(Protocol):
    """One run in a tracker."""

    run_id: str

    def describe(self, settings: Mapping[str, Any]) -> None:
        """Tell the run's settings by dotted name; the same ones again change nothing."""

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Tell the numbers of some rows, each at its `step`."""

    def close(self, status: str, totals: Mapping[str, float], step: int) -> None:
        """`finished` with its totals, `stopped` (it will go on) or `failed`."""


class MlflowTracker:
    """A run of MLflow: in `mlflow.db` here, or where `MLFLOW_TRACKING_URI` says."""

    def __init__(self, run_id: str | None, name: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        module = require("mlflow.tracking", extra="mlflow", purpose="--track mlflow")
        self._client = module.MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db")
        if run_id is None:
            experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
            known = self._client.get_experiment_by_name(experiment)
            number = known.experiment_id if known else self._client.create_experiment(experiment)
            self.run_id: str = self._client.create_run(number, run_name=name).info.run_id
        else:
            self.run_id = run_id
            self._client.update_run(run_id, status="RUNNING")

    def describe(self, settings: Mapping[str, Any]) -> None:
        """Parameters: as text, which is how MLflow keeps them."""
        from mlflow.entities import Param

        params = [Param(key, str(value)[:PARAM_LENGTH]) for key, value in settings.items()]
        for start in range(0, len(params), PARAMS_AT_ONCE):
            self._client.log_batch(self.run_id, params=params[start : start + PARAMS_AT_ONCE])

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Metrics."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, row["step"]) for row in rows for key, value in numbers_of(row).items()]
        for start in range(0, len(metrics), METRICS_AT_ONCE):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + METRICS_AT_ONCE])

    def close(self, status: str, totals: Mapping[str, float], step: int) -> None:
        """Totals are metrics at the last step, under `final.`."""
        self.write([{"step": step, **{f"final.{name}": value for name, value in totals.items()}}])
        self._client.set_terminated(self.run_id, status={"finished": "FINISHED", "stopped": "KILLED"}.get(status, "FAILED"))


class WandbTracker:
    """A run of Weights & Biases: offline in `wandb/` here (`wandb sync` sends it), or as `WANDB_MODE` and `WANDB_DIR` say.

    A resumed run is a further folder with the same id. Steps only grow there, so repeated ones are missing after a roll-back.
    """

    def __init__(self, run_id: str | None, name: str) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb = require("wandb", extra="wandb", purpose="--track wandb")
        self.run_id = run_id or uuid.uuid4().hex[:8]
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=name,
            id=self.run_id,
            resume="allow",
            mode=os.environ.get("WANDB_MODE") or "offline",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def describe(self, settings: Mapping[str, Any]) -> None:
        """The run's config."""
        self._run.config.update(dict(settings), allow_val_change=True)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """History: what shares a step is one row of it."""
        for row in rows:
            self._run.log(numbers_of(row), step=row["step"])

    def close(self, status: str, totals: Mapping[str, float], step: int) -> None:
        """Totals are the run's summary, under `final.`."""
        self._run.summary.update({f"final.{name}": value for name, value in totals.items()})
        self._run.finish(exit_code=int(status == "failed"))


TRACKERS: dict[str, type[MlflowTracker] | type[WandbTracker]] = {"mlflow": MlflowTracker, "wandb": WandbTracker}


class _Follower:
    """One tracker and what it has heard."""

    def __init__(self, tracker: Tracker, heard: Place) -> None:
        self.tracker, self.heard, self.last = tracker, heard, heard
        self.waiting: list[Mapping[str, Any]] = []

    def note(self, row: Mapping[str, Any]) -> None:
        """Keep a row for the next lot, unless it was told before the run was resumed."""
        if place_of(row) > self.heard:
            self.waiting.append(row)

    def hand_over(self) -> None:
        """Tell what waits."""
        rows, self.waiting = self.waiting, []
        if rows:
            self.tracker.write(rows)
            self.last = place_of(rows[-1])


class Watch:
    """Passes on the rows of one run's curve. A context: leaving it closes the trackers."""

    def __init__(
        self,
        names: Iterable[str],
        *,
        observed: Path,
        scratch: Path,
        settings: Mapping[str, Any],
        earlier: Sequence[Mapping[str, Any]],
        progress: Progress,
    ) -> None:
        """Open the event file, and the trackers `names`, in their own run where `scratch` remembers one.

        Args:
            names: of trackers.
            observed: where the event file goes.
            scratch: where it is remembered which runs these are.
            settings: the run's name, `run`, and sections of its configuration.
            earlier: the curve so far.
            progress: told of a tracker that fails.

        Raises:
            MissingExtraError: when a tracker is not installed.
        """
        self._events = EventFile(observed / "tensorboard", earlier)
        self._memory, self._progress = scratch / "trackers.json", progress
        self._followers: dict[str, _Follower] = {}
        self._totals: dict[str, float] | None = None
        self._step = 0
        known = read_json(self._memory) if self._memory.is_file() else {}
        for name in names:
            remembered = known.get(name, {})
            heard = tuple(remembered.get("last", (-1, False)))
            try:
                tracker = TRACKERS[name](remembered.get("run"), str(settings["run"]))
                tracker.describe(dict(flattened(settings)))
            except MissingExtraError:
                raise
            except Exception as error:
                self._leave(name, error)
                continue
            self._followers[name] = _Follower(tracker, heard)
            for row in earlier:
                self._followers[name].note(row)
        self._hand_over()

    def note(self, row: Mapping[str, Any]) -> None:
        """A row of the curve."""
        self._events.write(row)
        self._step = row["step"]
        for follower in self._followers.values():
            follower.note(row)
        if time.monotonic() - self._handed_at > SECONDS:
            self._hand_over()

    def finish(self, facts: Mapping[str, Any]) -> None:
        """The numbers of the whole run."""
        self._totals = numbers_of(facts)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._hand_over()
        status = "failed" if kind else "stopped" if self._totals is None else "finished"
        for name, follower in self._followers.items():
            try:
                follower.tracker.close(status, self._totals or {}, self._step)
            except Exception as failure:
                self._leave(name, failure)

    def _hand_over(self) -> None:
        for name, follower in list(self._followers.items()):
            try:
                follower.hand_over()
            except Exception as error:  # whatever a database or a server may raise: training is worth more than its picture
                self._leave(name, error)
                del self._followers[name]
        if self._followers:
            write_json(self._memory, {n: {"run": f.tracker.run_id, "last": f.last} for n, f in self._followers.items()})
        self._handed_at = time.monotonic()

    def _leave(self, name: str, error: Exception) -> None:
        lines = str(error).strip().splitlines()
        self._progress.note(f"{name} fails ({type(error).__name__}: {lines[0] if lines else ''}): training goes on without it")


def place_of(row: Mapping[str, Any]) -> Place:
    """Where a row stands in its curve."""
    return row["step"], "validation_loss" in row


def numbers_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row, but for its step.

    >>> numbers_of({"step": 3, "loss": 2, "reason": "text", "stopped_early": False})
    {'loss': 2.0}
    """
    kept = {key: value for key, value in row.items() if key != "step" and isinstance(value, int | float)}
    return {key: float(value) for key, value in kept.items() if not isinstance(value, bool)}


def flattened(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of nested sections with its dotted path; a list is a leaf.

    >>> dict(flattened({"model": {"width": 64}, "seed": 1}))
    {'model.width': 64, 'seed': 1}
    """
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from flattened(part, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def trackers_of(text: str) -> tuple[str, ...]:
    """The trackers that a runtime names.

    >>> trackers_of("mlflow, wandb")
    ('mlflow', 'wandb')

    Raises:
        RecipeError: for one that there is not.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in TRACKERS:
            raise RecipeError(
                f"there is no tracker '{name}'", where="--track", expected=f"one or more of: {', '.join(TRACKERS)}"
            )
    return names


def check_trackers(text: str) -> None:
    """Refuse, before anything is started, trackers that do not exist or are not installed.

    Raises:
        RecipeError: when there is no such tracker.
        MissingExtraError: naming the module and its extra.
    """
    for name in trackers_of(text):
        for module in EXTRAS[name]:
            if find_spec(module) is None:
                raise MissingExtraError(
                    f"--track {name} needs '{module}', which is not installed",
                    expected=f"the extra [{name}]",
                    fix=f"pip install 'lmpipe[{name}]' (`lmpipe doctor` shows what is there)",
                )
