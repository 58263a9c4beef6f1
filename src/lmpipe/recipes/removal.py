"""Sources taken out of a recipe, by overrides that the run's record keeps, and all that held them computed again.

The recipe's file is not changed: what makes the exclusion permanent is for its owner to write.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.base.errors import RecipeError
from lmpipe.base.runtime import Runtime
from lmpipe.pipeline.events import RunProgress
from lmpipe.recipes.project import Project, open_project
from lmpipe.recipes.results import Run
from lmpipe.recipes.schema import Recipe

SHOWN_NAMES = 5


@dataclass(frozen=True)
class Removal:
    """Sources taken out, and the run without them."""

    sources: list[str]
    """Names of the files."""
    overrides: dict[str, Any]
    """What the recipe was run with: as `--set` takes it."""
    run: Run

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"removed": self.sources, "overrides": self.overrides, **self.run.to_json()}


def remove(
    recipe: Path,
    pattern: str,
    *,
    set: Mapping[str, Any] | None = None,
    corpus: str | None = None,
    runtime: Runtime | None = None,
    progress: RunProgress | None = None,
) -> Removal:
    """Leave out every source whose name fits, and run.

    Args:
        recipe: the recipe's path; it is not changed.
        pattern: a glob over names of sources, as the data card lists them: `books/emma.txt`, `crawl/**`.
        set: further overrides.
        corpus: only from this one.
        runtime: where and how.
        progress: listens to the run's events.

    Raises:
        RecipeError: when nothing has such a name, or nothing would be left.
    """
    from lmpipe.recipes.running import run as run_recipe

    overrides = dict(set or {})
    removed, exclusions = without_sources(open_project(recipe, overrides), pattern, corpus)
    overrides |= exclusions
    return Removal(removed, overrides, run_recipe(recipe, set=overrides, runtime=runtime, progress=progress))


def without_sources(project: Project, pattern: str, corpus: str | None = None) -> tuple[list[str], dict[str, Any]]:
    """The names of the sources that fit, and the overrides that leave them out.

    A path all of whose files fit goes from `paths`, and an entry all of whose paths go from `read`: an `exclude` that leaves
    nothing of a path is refused when the recipe is read.

    Raises:
        RecipeError: when nothing fits, or nothing would be left of a corpus.
    """
    removed: list[str] = []
    overrides: dict[str, Any] = {}
    for name, given in project.recipe.data.items():
        if corpus in (None, name):
            lost = [_without(source, pattern, project.folder) for source in given.read]
            names = [file for source in lost for file in source.removed]
            overrides |= _overrides(name, lost) if names else {}
            removed += names
    if not removed:
        raise RecipeError(
            f"no source of this recipe is called '{pattern}'",
            where="--source",
            expected="a glob over names as `lmpipe data card` lists them",
            fix=f"such as {', '.join(_some_names(project.recipe, project.folder))}",
        )
    return removed, overrides


@dataclass(frozen=True)
class _Left:
    """What is left of one entry of `read`."""

    config: dict[str, Any]
    changes: dict[str, Any]
    removed: list[str]
    whole: bool
    """Whether nothing of it is left."""


def _without(source: Any, pattern: str, folder: Path) -> _Left:
    config = source.model_dump(mode="json", exclude_unset=True)
    if not hasattr(source, "paths"):
        matched = [name for name in _names(source, folder) if fnmatch.fnmatchcase(name, pattern)]
        return _Left(config, {}, matched, whole=bool(matched))
    names = {path: _names(source.model_copy(update={"paths": (path,)}), folder) for path in source.paths}
    fits = {path: [name for name in found if fnmatch.fnmatchcase(name, pattern)] for path, found in names.items()}
    kept = [path for path in source.paths if len(fits[path]) < len(names[path])]
    removed = list(dict.fromkeys(name for found in fits.values() for name in found))
    changes: dict[str, Any] = {"paths": kept} if len(kept) < len(source.paths) else {}
    if any(fits[path] for path in kept):
        changes["exclude"] = [*source.exclude, pattern]
    return _Left({**config, **changes}, changes, removed, whole=not kept)


def _overrides(corpus: str, lost: list[_Left]) -> dict[str, Any]:
    left = [source.config for source in lost if not source.whole]
    if not left:
        raise RecipeError(
            f"nothing would be left of the corpus '{corpus}'", where="--source", expected="a glob that leaves some text"
        )
    if len(left) < len(lost):
        return {f"data.{corpus}.read": left}
    return {
        f"data.{corpus}.read.{number}.{field}": value
        for number, source in enumerate(lost)
        for field, value in source.changes.items()
    }


def _names(source: Any, folder: Path) -> list[str]:
    from lmpipe.data.readers.sources import resolve

    return [file.name for file in resolve(source, [folder, Path.cwd()])]


def _some_names(recipe: Recipe, folder: Path) -> list[str]:
    names = (name for corpus in recipe.data.values() for source in corpus.read for name in _names(source, folder))
    return [name for name, _ in zip(names, range(SHOWN_NAMES), strict=False)]
