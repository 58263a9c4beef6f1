"""The items that `judged:` and `programs:` bring in files of their own, for decontamination to look for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lmpipe.data.decontamination.config import BroughtItems
from lmpipe.evaluation.code.config import ProgramsConfig
from lmpipe.pipeline.stage import Source
from lmpipe.recipes.continuing import recipes_file
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
    return tuple(found), files
