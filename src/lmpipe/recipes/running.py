"""Running a recipe: check, compute what is missing, decide, write the report. The Python entry and `lmpipe run` are this."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lmpipe.base.errors import StoreError
from lmpipe.base.runtime import Runtime
from lmpipe.data.engines.choice import check_engine
from lmpipe.pipeline import runner
from lmpipe.pipeline.events import RunProgress
from lmpipe.pipeline.runs import RunLog
from lmpipe.pipeline.store import open_store
from lmpipe.recipes.predicting import predict_run
from lmpipe.recipes.project import check_device, check_extras, check_gate, check_processes, open_project
from lmpipe.recipes.reporting import write_page
from lmpipe.recipes.results import Run
from lmpipe.training.trackers import check_trackers


def run(
    recipe: str | Path | Mapping[str, Any],
    set: Mapping[str, Any] | None = None,
    *,
    runtime: Runtime | None = None,
    progress: RunProgress | None = None,
) -> Run:
    """Compute what is missing of a recipe; killed at any moment, the same call goes on.

    Args:
        recipe: a recipe's path, or a recipe as plain data.
        set: overridden fields, `{"train.0.tokens": 1_000_000}`.
        runtime: where and how; the default is this machine and the folder `store`.
        progress: listens to the run's events; None: quiet.

    Raises:
        LmpipeError: as the check or the failing stage says; what was finished stays in the store.
    """
    runtime = runtime or Runtime()
    project = open_project(recipe, set)
    check_gate(project.recipe)
    check_extras(project.recipe)
    check_device(runtime)
    check_processes(project.recipe, runtime)
    check_engine(runtime.on)
    check_trackers(runtime.track)
    stages = project.stages(runtime)
    store = open_store(runtime.store)
    extra = {
        "recipe_path": str(recipe) if not isinstance(recipe, Mapping) else "",
        "recipe_text": project.source.text,
        "overrides": dict(project.overrides),
        "device": runtime.resolved_device(),
    }
    log = RunLog(store, project.recipe.name, project.resolved(runtime), inner=progress, extra=extra)
    try:
        predictions = predict_run(project, stages, runtime, store, log)
        runner.run(stages, runtime, log)
    except BaseException:
        with suppress(StoreError):  # why the run ended must be told, not that its record could not be closed
            log.close()
        raise
    result = Run(log.record, store)
    verdict = result.verdict
    same = result.same_before()
    facts = {"predictions": predictions, **({"page_of": same} if same else {})}
    log.close(verdict=verdict.model_dump(mode="json") if verdict else None, extra=facts)
    result.entry = log.record
    if same is None:
        write_page(result)
    return result
