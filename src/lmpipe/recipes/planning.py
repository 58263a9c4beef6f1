"""What a run would do and cost, without doing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.base.runtime import Runtime
from lmpipe.pipeline.plan import PlanRow
from lmpipe.pipeline.plan import plan as plan_stages
from lmpipe.pipeline.store import open_store
from lmpipe.recipes.calls import expected_calls
from lmpipe.recipes.predicting import calibrate as calibrate_training
from lmpipe.recipes.predicting import estimate, stored_calibration, training_costs
from lmpipe.recipes.project import check_gate, check_processes, open_project


@dataclass(frozen=True)
class Plan:
    """The stages with what would happen to each, and the estimates."""

    rows: Sequence[PlanRow]
    estimates: Mapping[str, Any]
    """`parameters` (exact), `training_tokens`, `training_flops`, `processes`; with a calibration `stages`: seconds,
    peak_memory_bytes and watt_hours by stage. `calls`: how often generators will be asked, as `calls.expected_calls` says."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, for `--json`."""
        return {"stages": [row.to_json() for row in self.rows], "estimates": dict(self.estimates)}


def plan(
    recipe: str | Path | Mapping[str, Any],
    set: Mapping[str, Any] | None = None,
    *,
    runtime: Runtime | None = None,
    calibrate: bool = False,
) -> Plan:
    """What `run` would compute, why, and what it would cost.

    Args:
        recipe: a recipe's path, or a recipe as plain data.
        set: overridden fields.
        runtime: where the run would happen.
        calibrate: train for ten seconds first, so that time and memory can be predicted; the result is kept in the store.

    Raises:
        RecipeError: when the recipe is wrong.
        SourceError: when its input is not there.
    """
    runtime = runtime or Runtime()
    project = open_project(recipe, set)
    check_gate(project.recipe)
    check_processes(project.recipe, runtime)
    store = open_store(runtime.store)
    rows = plan_stages(project.stages(runtime), store)
    calibration = stored_calibration(project.recipe, runtime, store)
    if calibrate and calibration is None and runtime.trainers == 1:
        calibration = calibrate_training(project.recipe, runtime, store)
    return Plan(
        rows,
        {
            **estimate(project.recipe),
            "processes": runtime.trainers,
            "stages": training_costs(project.recipe, calibration),
            "calls": expected_calls(project.recipe),
        },
    )
