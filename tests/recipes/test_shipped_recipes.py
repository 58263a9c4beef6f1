"""The recipes in `recipes/` that begin from scratch are recipes: every key is known, every name is used."""

from pathlib import Path

import pytest

from lmpipe.recipes.project import open_project

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
FROM_SCRATCH = [path for path in RECIPES if "model: {from:" not in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", FROM_SCRATCH, ids=lambda path: path.stem)
def test_a_recipe_validates_and_says_how_it_is_run(path: Path) -> None:
    project = open_project(str(path))
    assert project.recipe.name == path.stem
    assert project.recipe.gate.require, "a benchmark says what it wants to reach"
    text = path.read_text(encoding="utf-8")
    assert f"recipes/{path.name}" in text or path.stem == "quickstart"


def test_the_two_recipes_of_one_field_divide_it_alike() -> None:
    first, second = (path.read_text(encoding="utf-8") for path in RECIPES if path.stem in ("cpp-docs", "novels"))
    assert first.split("data:")[1].split("\n\n")[0] == second.split("data:")[1].split("\n\n")[0]
