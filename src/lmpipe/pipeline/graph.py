"""The order of stages: every stage after its inputs, the same order every time."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lmpipe.base.errors import RecipeError
from lmpipe.pipeline.stage import Stage

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
RESERVED = frozenset({"runs"})
"""Folders of the store that hold something else."""


def order(stages: Sequence[Stage]) -> list[Stage]:
    """`stages` and everything they stand on, each once, inputs first; otherwise in the order given.

    Raises:
        RecipeError: for a name that cannot be a folder, two different stages of one name, or a circle.
    """
    done: dict[str, Stage] = {}
    for stage in stages:
        _visit(stage, done, ())
    return list(done.values())


def _visit(stage: Stage, done: dict[str, Stage], path: tuple[str, ...]) -> None:
    _check_name(stage.name)
    if stage.name in path:
        raise RecipeError(
            f"stage '{stage.name}' stands on itself",
            where=" <- ".join((*path[path.index(stage.name) :], stage.name)),
            expected="stages without a circle",
        )
    known = done.get(stage.name)
    if known is not None:
        if known is not stage and known != stage:
            raise RecipeError(
                f"two different stages are called '{stage.name}'",
                expected="one name for one stage",
                fix="give one of them another name",
            )
        return
    for upstream in stage.inputs.values():
        _visit(upstream, done, (*path, stage.name))
    done[stage.name] = stage


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name) or name in RESERVED:
        raise RecipeError(
            f"{name!r} cannot be the name of a stage",
            expected="lower-case letters, digits, '-' and '_', at most 100, starting with a letter or digit, and not 'runs'",
        )
