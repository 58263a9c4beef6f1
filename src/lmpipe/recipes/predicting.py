"""What a run will cost, before it is spent: parameters exactly; time and memory of training after a ten-second calibration.

A calibration runs real training steps on random ids in a process of its own, so its peak memory is that of the stage, and is
kept in the store by (model, phase, runtime, machine). Runs whose training is too small to be worth it are not calibrated.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmpipe.base.canonical import digest_of
from lmpipe.base.errors import RecipeError, StageError
from lmpipe.base.files import read_json, write_json
from lmpipe.base.runtime import Runtime
from lmpipe.models.auto.config import AutoConfig
from lmpipe.models.families import flops_per_token, parameter_count
from lmpipe.models.sizing import derivation
from lmpipe.pipeline.energy import WATTS_PER_CORE
from lmpipe.pipeline.events import RunProgress, StageNote
from lmpipe.pipeline.machine import this_machine
from lmpipe.pipeline.plan import plan as plan_stages
from lmpipe.pipeline.stage import Stage
from lmpipe.pipeline.store import Store
from lmpipe.recipes.building import resolve
from lmpipe.recipes.project import Project
from lmpipe.recipes.repeats import training_prefixes
from lmpipe.recipes.schema import Recipe
from lmpipe.training.prediction import Calibration, predict

WORTH_FLOPS = 3e12
"""Training below this takes a core some half a minute: a calibration would cost as much as it tells."""
CALIBRATION_SECONDS = 10.0


def estimate(recipe: Recipe) -> dict[str, Any]:
    """What follows from the recipe alone: no clock, no machine."""
    known = [phase.tokens for phase in recipe.train if phase.tokens is not None]
    tokens = sum(known) if len(known) == len(recipe.train) else None
    vocab_size = recipe.tokenizer.vocab_size
    per_token = flops_per_token(recipe.model, vocab_size)
    parameters = parameter_count(recipe.model, vocab_size)
    return {
        "parameters": parameters,
        "derived": {} if isinstance(recipe.model, AutoConfig) else derivation(recipe.model, parameters),
        "trainings": 1 + len(training_prefixes(recipe)),
        "training_tokens": tokens,
        "flops_per_token": per_token,
        "training_flops": None if tokens is None else per_token * tokens,
    }


def predict_run(
    project: Project, stages: Sequence[Stage], runtime: Runtime, store: Store, progress: RunProgress
) -> dict[str, Any]:
    """Predictions for a run that is about to start; calibrates where training has to be computed and is worth it."""
    rows = {row.name: row for row in plan_stages(stages, store)}
    name = f"train-{project.recipe.train[0].name}"
    numbers = estimate(project.recipe)
    calibration = stored_calibration(project.recipe, runtime, store)
    worth = numbers["training_flops"] is not None and numbers["training_flops"] > WORTH_FLOPS
    able = project.recipe.model.kind != "auto" and project.recipe.train[0].objective.calibrates
    if calibration is None and rows[name].status != "hit" and worth and able and runtime.trainers == 1:
        progress.handle(StageNote(name, f"calibrating for {CALIBRATION_SECONDS:.0f} seconds, to predict time and memory"))
        calibration = calibrate(project.recipe, runtime, store)
    return {**numbers, "stages": training_costs(project.recipe, calibration)}


def training_costs(recipe: Recipe, calibration: Calibration | None) -> dict[str, Any]:
    """Seconds, peak memory and energy of each training phase, from a calibration of the first."""
    first = recipe.train[0]
    if calibration is None or first.tokens is None:
        return {}
    method = f"calibration of {calibration.steps} steps on this machine"
    stages = {}
    for phase in recipe.train:  # the first was measured; another takes as long for a token
        if phase.tokens is None:
            continue
        share = phase.tokens / first.tokens
        steps = max(1, round(calibration.phase_steps * share))
        costs = predict(calibration.model_copy(update={"phase_steps": steps}))
        watt_hours = costs["cpu_seconds"] * WATTS_PER_CORE / 3600
        for prefix in ("", *training_prefixes(recipe)):
            stages[f"{prefix}train-{phase.name}"] = {**costs, "watt_hours": watt_hours, "method": method}
    return stages


def stored_calibration(recipe: Recipe, runtime: Runtime, store: Store) -> Calibration | None:
    """The calibration of an equal model, phase, runtime and machine, if there was one; none is made for several processes."""
    if runtime.trainers > 1:
        return None
    path = _path(recipe, runtime, store)
    return Calibration.model_validate(read_json(path)) if path.is_file() else None


def calibrate(recipe: Recipe, runtime: Runtime, store: Store) -> Calibration:
    """Run real training steps for some seconds in a process of their own, and keep what was measured.

    Raises:
        StageError: when that process fails: training would, too.
        RecipeError: for a model that is computed by Transformers, and for what is not learned from ids alone.
    """
    objective = recipe.train[0].objective
    if not objective.calibrates:
        raise RecipeError(
            f"{objective.kind} cannot be calibrated: random ids are no lesson for it",
            where="train.0.objective",
            expected="causal, prefix, chat or masked without whole_words",
            fix="plan without --calibrate",
        )
    if isinstance(recipe.model, AutoConfig):
        raise RecipeError(
            "a model that Transformers computes cannot be calibrated: it is never fresh",
            where="model",
            expected="a model of one of our families",
            fix="plan without --calibrate",
        )
    done = subprocess.run(
        [sys.executable, "-m", "lmpipe.training.calibration"],
        input=json.dumps(_request(recipe, runtime)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise StageError(
            f"the calibration ended with code {done.returncode}: {last}",
            expected="some training steps on random ids",
            fix="a smaller model or batch where memory is short",
        )
    calibration = Calibration.model_validate_json(done.stdout.strip().splitlines()[-1])
    write_json(_path(recipe, runtime, store), calibration.model_dump(mode="json"))
    return calibration


def _request(recipe: Recipe, runtime: Runtime) -> dict[str, Any]:
    resolved = resolve(recipe, runtime)
    return {
        "model": resolved.model.model_dump(mode="json"),
        "phase": resolved.train[0].model_dump(mode="json"),
        "vocab_size": resolved.tokenizer.vocab_size,
        "device": runtime.resolved_device(),
        "threads": runtime.resolved_threads(),
        "compile": runtime.compile,
        "seconds": CALIBRATION_SECONDS,
    }


def _path(recipe: Recipe, runtime: Runtime, store: Store) -> Path:
    machine = this_machine()
    key = digest_of({**_request(recipe, runtime), "processor": machine.processor, "cores": machine.cores})
    return store.root / ".calibrations" / f"{key[:16]}.json"
