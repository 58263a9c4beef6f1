"""The stages that measure a model on items which are no corpus of the recipe: suites of tasks, programs, a judge's pairs."""

from __future__ import annotations

from pathlib import Path

from lmpipe.data.generation.files import pinned_generator
from lmpipe.pipeline.stage import Source, Stage
from lmpipe.recipes import stage_configs as configs
from lmpipe.recipes.brought_items import files_of_tasks
from lmpipe.recipes.continuing import recipes_file
from lmpipe.recipes.graph import Graph
from lmpipe.recipes.model_graph import chats
from lmpipe.recipes.schema import Recipe


def suites(graph: Graph, recipe: Recipe, tokenizer: Stage, train: Stage, base_folders: list[Path]) -> dict[str, Stage]:
    """Suites of tasks, by stage name; the files of their folders by their digests, wherever they lie."""
    asked = {}
    for number, suite in enumerate(recipe.suites, start=1):
        files = files_of_tasks(suite, base_folders, f"suites.{number - 1}.folder")
        named = suite.model_copy(update={"folder": suite.folder and "tasks"})
        config = configs.SuiteStage(suite=named, weights=recipe.export[0].weights, seed=recipe.seed)
        found = (lambda files=files: files) if files else None
        name = "evaluate-suite" if number == 1 else f"evaluate-suite-{number}"
        asked[name] = graph.add("suite", name, config, {"train": train, "tokenizer": tokenizer}, sources=found)
    return asked


def programs(graph: Graph, recipe: Recipe, tokenizer: Stage, train: Stage, base_folders: list[Path]) -> dict[str, Stage]:
    """Programs written for problems, by stage name.

    Raises:
        RecipeError: when there is no such file.
    """
    written = {}
    for number, part in enumerate(recipe.programs):
        file = recipes_file(
            part.file, base_folders, where=f"programs.{number}.file", expected="problems with tests, in JSON lines"
        )
        named = part.model_copy(update={"file": file.name})
        config = configs.ProgramsStage(programs=named, weights=recipe.export[0].weights, seed=recipe.seed)
        found = [file]
        stage = graph.add(
            "programs",
            f"evaluate-programs-{part.name}",
            config,
            {"train": train, "tokenizer": tokenizer},
            sources=lambda found=found: found,
        )
        written[stage.name] = stage
    return written


def judged(graph: Graph, recipe: Recipe, tokenizer: Stage, train: Stage, base_folders: list[Path]) -> dict[str, Stage]:
    """Answers compared by a judge, by stage name.

    Raises:
        RecipeError: when there is no such file.
        SourceError: when the judge is a bundle that is not there.
    """
    compared = {}
    for number, part in enumerate(recipe.judged):
        expected = "prompts with reference answers, in JSON lines"
        file = recipes_file(part.file, base_folders, where=f"judged.{number}.file", expected=expected)
        judge, manifests = pinned_generator(part.judge, base_folders)
        config = configs.JudgedStage(
            judged=part.model_copy(update={"file": file.name, "judge": judge}),
            chats=chats(recipe),
            weights=recipe.export[0].weights,
            seed=recipe.seed,
        )
        found = [file, *(Source(f.name, f.url, f.size, f.stamp, f.digest) for f in manifests)]
        stage = graph.add(
            "judged",
            f"evaluate-judged-{part.name}",
            config,
            {"train": train, "tokenizer": tokenizer},
            sources=lambda found=found: found,
        )
        compared[stage.name] = stage
    return compared
