"""A recipe, opened: read, overridden, validated, turned into stages. Knows where it lies, so that its paths are found."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.audit.config import MemorizationConfig, known_finding_names
from lmpipe.audit.gate import GOAL, check_names
from lmpipe.audit.gate import resolve as resolve_gate
from lmpipe.base.errors import MissingExtraError, RecipeError, TrainingError
from lmpipe.base.extras import EXTRAS
from lmpipe.base.runtime import Runtime
from lmpipe.data.filters.config import LanguageConfig
from lmpipe.data.generation.config import EndpointConfig
from lmpipe.data.readers.config import modules_of
from lmpipe.evaluation.code.config import known_program_metrics
from lmpipe.evaluation.config import known_metric_names
from lmpipe.evaluation.suite_config import known_suite_metrics
from lmpipe.pipeline.stage import Stage
from lmpipe.recipes.building import build_graph, resolve
from lmpipe.recipes.calls import generators_of
from lmpipe.recipes.completing import complete
from lmpipe.recipes.continuing import continue_from
from lmpipe.recipes.diagnosis import installed_version
from lmpipe.recipes.judged_config import known_judged_metrics
from lmpipe.recipes.model_graph import goal_corpus
from lmpipe.recipes.reading import Source, parse_recipe, read_recipe
from lmpipe.recipes.repeats import repeated_metric_names
from lmpipe.recipes.schema import Recipe
from lmpipe.recipes.validation import apply_overrides, validate
from lmpipe.serving.chatbot.making_config import CHATBOT_METRICS, SPAN_METRICS
from lmpipe.serving.chatbot.stories_config import METRICS as STORIES
from lmpipe.training.config import batching, why_not_sharded


@dataclass(frozen=True)
class Project:
    """One recipe and where it lies."""

    source: Source
    recipe: Recipe
    folder: Path
    overrides: Mapping[str, Any]

    def stages(self, runtime: Runtime) -> list[Stage]:
        """All stages, for this runtime."""
        return list(build_graph(self.recipe, runtime, [self.folder, Path.cwd()]).stages.values())

    def resolved(self, runtime: Runtime) -> dict[str, Any]:
        """Every default filled in, every `auto` decided: what identities are made from."""
        return resolve(self.recipe, runtime).model_dump(mode="json")

    def check(self) -> dict[str, Any]:
        """Look at everything that can be wrong before anything is spent.

        Raises:
            RecipeError: for a gate that asks for a number nobody measures.
            SourceError: for input that is not there.
            MissingExtraError: for a part that is not installed.
        """
        check_gate(self.recipe)
        check_extras(self.recipe)
        check_sources(self.recipe)
        check_generators(self.recipe)
        stages = self.stages(Runtime())
        sources = [source for stage in stages if stage.sources for source in stage.sources()]
        return {"recipe": self.recipe.name, "stages": len(stages), "files": len(sources), "bytes": sum(s.size for s in sources)}


def open_project(recipe: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Project:
    """Open a recipe file, or a recipe given as plain data.

    Raises:
        RecipeError: when it cannot be read or does not fit the schema.
    """
    if isinstance(recipe, Mapping):
        source, folder = Source("recipe", "", dict(recipe)), Path.cwd()
    else:
        source, folder = read_recipe(Path(recipe)), Path(recipe).absolute().parent
    source = complete(continue_from(apply_overrides(source, overrides or {}), [folder, Path.cwd()]))
    return Project(source, validate(Recipe, source), folder, dict(overrides or {}))


def parse_project(text: str) -> Project:
    """Open a recipe given as YAML text."""
    source = complete(continue_from(parse_recipe(text, "recipe"), [Path.cwd()]))
    return Project(source, validate(Recipe, source), Path.cwd(), {})


def check(recipe: str | Path | Mapping[str, Any], set: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Check a recipe; see `Project.check`. `set` overrides fields: `{"train.0.tokens": 1_000_000}`."""
    return open_project(recipe, set).check()


def check_gate(recipe: Recipe) -> None:
    """A gate may ask only for numbers that the recipe measures, and an audit only for passages that fit the model.

    Raises:
        RecipeError: naming the requirement and the nearest known name.
    """
    _check_passages(recipe)
    _check_batches(recipe)
    if recipe.goal and not (recipe.gate and any(asked.metric == GOAL for asked in recipe.gate.require)):
        raise RecipeError(
            "the goal is dead: no gate requires it",
            where="goal",
            expected="a gate that asks for it",
            fix="add `{metric: goal}` to `require` in `gate`" if recipe.gate else "add `gate: {require: [{metric: goal}]}`",
        )
    if recipe.gate:
        bounds = resolve_gate(recipe.gate, recipe.goal, goal_corpus(recipe))
        metrics = [*known_metric_names(recipe.evaluate), *known_suite_metrics(recipe.suites), *repeated_metric_names(recipe)]
        metrics += [*known_program_metrics(recipe.programs), *known_judged_metrics(recipe.judged)]
        metrics += (*CHATBOT_METRICS, *STORIES) if recipe.chatbot else ()
        metrics += SPAN_METRICS if recipe.chatbot and recipe.chatbot.spans_from else ()
        check_names(bounds, metrics=metrics, findings=known_finding_names(recipe.audit))


def _check_batches(recipe: Recipe) -> None:
    for number, phase in enumerate(recipe.train):
        if phase.objective.learns != ("text",):  # rows of examples are as long as the examples ask for
            continue
        try:
            batching(phase, recipe.model.context, lambda rows: 1)
        except TrainingError as error:
            where = f"train.{number}.batch_tokens"
            raise RecipeError(error.what, where=where, expected=error.expected, fix=error.fix) from None


def _check_passages(recipe: Recipe) -> None:
    for number, audit in enumerate(recipe.audit):
        if isinstance(audit, MemorizationConfig) and audit.prefix_tokens + audit.suffix_tokens > recipe.model.context:
            raise RecipeError(
                f"the memorization audit needs passages of {audit.prefix_tokens + audit.suffix_tokens} tokens, and the model's "
                f"context is {recipe.model.context}",
                where=f"audit.{number}.prefix_tokens and suffix_tokens",
                expected=f"together at most {recipe.model.context}",
                fix=f"set both to {recipe.model.context // 2} or less, or give the model a longer context",
            )


def check_generators(recipe: Recipe) -> None:
    """The keys of all endpoints must be at hand.

    Raises:
        RecipeError: naming each environment variable that is not set, and where the recipe asks for it.
    """
    named = {where: g.api_key_env for where, g in generators_of(recipe) if isinstance(g, EndpointConfig) and g.api_key_env}
    missing = {where: variable for where, variable in named.items() if not os.environ.get(variable, "").strip()}
    if missing:
        variables = sorted(set(missing.values()))
        raise RecipeError(
            f"no key for an endpoint: {', '.join(variables)} is not set in the environment",
            where=", ".join(f"{where}.api_key_env" for where in missing),
            expected="the key in that variable; it is sent to the endpoint and written nowhere",
            fix=f"export {variables[0]}=... before the run",
        )


def check_sources(recipe: Recipe) -> None:
    """What the sources of the corpora need beyond the extra [train] must be installed.

    Raises:
        MissingExtraError: naming the source, the missing module and the extra that brings it.
    """
    for name, corpus in recipe.data.items():
        for number, source in enumerate(corpus.read):
            for module, extra in modules_of(source).items():
                if installed_version(module) is None:
                    raise MissingExtraError(
                        f"a source of kind '{source.kind}' needs '{module}', which is not installed",
                        where=f"data.{name}.read.{number}",
                        expected=f"the extra [{extra}]",
                        fix=f"pip install 'lmpipe[{extra}]' (`lmpipe doctor` shows what is there)",
                    )


def check_device(runtime: Runtime) -> None:
    """A device that is asked for by name must be there.

    Raises:
        RecipeError: for `cuda` where torch finds none.
    """
    if runtime.device != "cuda" or Runtime().resolved_device() == "cuda":
        return
    import torch  # a driver that leaves no trace in /proc, such as that of WSL: only torch knows

    if not torch.cuda.is_available():
        raise RecipeError(
            "no CUDA device is here",
            where="--device cuda",
            expected="an NVIDIA GPU with its driver, and a build of torch that knows it",
            fix="leave --device out, or say --device cpu (`lmpipe doctor` shows what is there)",
        )


def check_processes(recipe: Recipe, runtime: Runtime) -> None:
    """Every phase must be one that several processes can share, where there are several.

    Raises:
        RecipeError: for a phase that cannot be divided, or a number of processes that is none.
    """
    if runtime.processes < 1:
        raise RecipeError(f"{runtime.processes} processes cannot train", where="runtime", expected="1 or more")
    if (runtime.machines > 1) != bool(runtime.rendezvous):
        raise RecipeError(
            "several machines need a place to meet, and one machine needs none",
            where="--machines, --rendezvous",
            expected="both, as in --machines 2 --rendezvous HOST:29400, or neither",
        )
    if runtime.shard and runtime.trainers == 1:
        raise RecipeError("one process has nobody to divide a model with", where="--shard", fix="add --processes 2, or more")
    if runtime.restarts and runtime.trainers == 1:
        raise RecipeError(
            "one process is not started again by itself",
            where="--restarts",
            expected="several processes",
            fix="leave it out: the same command goes on from the newest checkpoint",
        )
    for number, phase in enumerate(recipe.train):
        if runtime.trainers > 1 and phase.objective.undivided:
            raise RecipeError(
                f"{phase.objective.kind} {phase.objective.undivided}, in one process",
                where=f"train.{number}.objective",
                expected="an objective whose batches can be divided among processes",
                fix="leave --processes out",
            )
        if runtime.trainers > 1 and phase.bucket_by_length:
            raise RecipeError(
                "batches by length have a number of rows of their own, which may be fewer than there are processes",
                where=f"train.{number}.bucket_by_length",
                expected="rows that hold several examples, which several processes can share",
                fix="leave --processes out, or bucket_by_length",
            )
        if runtime.shard and (reason := why_not_sharded(phase, recipe.model.kind)):
            raise RecipeError(
                f"phase '{phase.name}' cannot be trained in parts: {reason}",
                where=f"train.{number}",
                expected="a phase whose weights can be divided",
                fix="leave --shard out: each process then holds the whole model",
            )


def check_extras(recipe: Recipe) -> None:
    """Everything that a run needs must be installed.

    Raises:
        MissingExtraError: naming the first missing module and the extra that brings it.
    """
    extras = ["data", "train"]
    if any(isinstance(part, LanguageConfig) for corpus in recipe.data.values() for part in corpus.clean):
        extras.append("language")
    for extra in extras:
        for module in EXTRAS[extra]:
            if installed_version(module) is None:
                extra = "train" if extra == "data" else extra
                raise MissingExtraError(
                    f"a run needs '{module}', which is not installed",
                    expected=f"the extra [{extra}]",
                    fix=f"pip install 'lmpipe[{extra}]' (`lmpipe doctor` shows what is there)",
                )
