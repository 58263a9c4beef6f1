"""The items that `judged:`, `programs:` and `suites:` bring in files of their own, for decontamination to look for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lmpipe.base.errors import RecipeError
from lmpipe.data.decontamination.config import READ, BroughtItems
from lmpipe.evaluation.code.config import ProgramsConfig
from lmpipe.evaluation.suite_config import SuiteConfig
from lmpipe.pipeline.stage import Source
from lmpipe.recipes.continuing import file_source, recipes_file
from lmpipe.recipes.judged_config import JudgedConfig
from lmpipe.recipes.schema import Recipe

TEXTS_OF = {"humaneval": ("prompt", "canonical_solution"), "mbpp": ("text", "code")}
"""Columns with what a problem asks and with its solution, by the format of the file."""


def brought_items(recipe: Recipe, base_folders: list[Path]) -> tuple[tuple[BroughtItems, ...], list[Source]]:
    """What is looked for in which columns, and beside it the files, each called as its set.

    Raises:
        RecipeError: when a file is not there.
    """
    found, files = [], []
    own: list[tuple[str, JudgedConfig | ProgramsConfig, tuple[str, ...]]] = [
        *((f"judged.{i}.file", part, (part.prompt, part.against)) for i, part in enumerate(recipe.judged)),
        *((f"programs.{i}.file", part, TEXTS_OF[part.format]) for i, part in enumerate(recipe.programs)),
    ]
    for where, part, columns in own:
        file = recipes_file(part.file, base_folders, where=where, expected="items in JSON lines")
        files.append(replace(file, name=part.subject))
        found.append(BroughtItems(set=part.subject, columns=columns, limit=part.limit))
    for number, suite in enumerate(recipe.suites):
        for file in files_of_tasks(suite, base_folders, f"suites.{number}.folder"):
            called = f"suite.{suite.folder}.{file.name}".replace("/", ".")
            if file.name.endswith(READ) and all(called != other.name for other in files):
                files.append(replace(file, name=called))
                found.append(BroughtItems(set=called, columns=None, limit=None))
    return tuple(found), files


def files_of_tasks(suite: SuiteConfig, base_folders: list[Path], where: str) -> list[Source]:
    """Everything in the folder of tasks, by its place there.

    Raises:
        RecipeError: when there is no such folder, or no task in it.
    """
    if suite.folder is None:
        return []
    folder = next((base / suite.folder for base in base_folders if (base / suite.folder).is_dir()), None)
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder else []
    if folder is None or not any(path.suffix in (".yaml", ".yml") for path in files):
        raise RecipeError(
            f"there is no folder '{suite.folder}'" if folder is None else f"'{suite.folder}' has no YAML file of a task",
            where=where,
            expected="a folder with tasks of lm-evaluation-harness, seen from the recipe's folder",
            fix="check the path",
        )
    return [file_source(path, path.relative_to(folder).as_posix()) for path in files]
