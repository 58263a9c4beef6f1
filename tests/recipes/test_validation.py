"""Validation of any config tree: every problem named with its place, its value, and the nearest known name."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import pytest
from pydantic import Field, model_validator

from lmpipe.base.config import Config
from lmpipe.base.errors import RecipeError
from lmpipe.recipes.reading import parse_recipe
from lmpipe.recipes.validation import apply_overrides, parse_overrides, validate


class Apple(Config):
    kind: Literal["apple"] = "apple"
    weight: float = Field(default=1.0, gt=0)


class Pear(Config):
    kind: Literal["pear"] = "pear"
    colour: Literal["green", "yellow"] = "green"


class Basket(Config):
    name: str
    size: int = 3
    fruit: tuple[Annotated[Apple | Pear, Field(discriminator="kind")], ...] = ()
    boxes: dict[str, Apple] = Field(default_factory=dict)
    crates: tuple[Apple, ...] = Field(default=(Apple(),), min_length=1)

    @model_validator(mode="after")
    def _boxes_fit(self) -> Self:
        for name in self.boxes:
            if name == "huge":
                raise ValueError(f"boxes.{name} does not fit into the basket")
        return self


def problem(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        validate(Basket, parse_recipe(text, "x.yaml"))
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_wrong_element_is_one_problem_and_not_also_a_short_list() -> None:
    assert "at least 1 item" not in problem("name: a\ncrates: [{weight: -1}]\n")
    assert "at least 1 item" in problem("name: a\ncrates: []\n")


def test_a_problem_of_several_sections_has_the_place_of_the_one_it_names() -> None:
    told = problem("name: a\nboxes:\n  huge: {weight: 1}\n")
    assert told.startswith("boxes.huge does not fit into the basket\n  where: x.yaml:3:")


def test_a_good_one() -> None:
    basket = validate(Basket, parse_recipe("name: a\nfruit: [{kind: pear}, {kind: apple, weight: 2}]\n", "x.yaml"))
    assert basket.fruit == (Pear(), Apple(weight=2.0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nsizes: 3\n", ["x.yaml:2:1", "'sizes'", "did you mean 'size'"]),
        ("size: 3\n", ["'name' is required"]),
        ("name: a\nsize: '3'\n", ["x.yaml:2:1", "'size'", '"3"', "integer"]),
        ("name: a\nsize: true\n", ["'size'", "true"]),
        ("name: 1\n", ["'name'", "string"]),
        ("name: a\nfruit:\n  - {kind: pera}\n", ["x.yaml:3:6", "did you mean 'pear'", "apple"]),
        ("name: a\nfruit: [{weight: 1}]\n", ["fruit.0", "kind", "apple, pear"]),
        ("name: a\nfruit: [{kind: apple, wieght: 1}]\n", ["fruit.0.wieght", "did you mean 'weight'"]),
        ("name: a\nfruit: [{kind: apple, weight: -1}]\n", ["fruit.0.weight", "-1", "greater than 0"]),
        ("name: a\nfruit: [{kind: pear, colour: gren}]\n", ["fruit.0.colour", "gren", "green"]),
        ("name: a\nboxes: {one: {weigth: 1}}\n", ["boxes.one.weigth", "did you mean 'weight'"]),
        ("name: a\nfruit: {kind: apple}\n", ["fruit"]),
    ],
)
def test_a_problem_has_place_value_and_nearest_name(text: str, expected: list[str]) -> None:
    message = problem(text)
    for part in expected:
        assert part in message


def test_all_problems_at_once() -> None:
    message = problem("size: x\ncolor: red\nfruit: [{kind: apple, weight: 0}]\n")
    assert "4 problems" in message
    assert all(part in message for part in ("'name'", "'size'", "'color'", "fruit.0.weight"))


def test_overrides_go_through_the_same_validation() -> None:
    source = parse_recipe("name: a\nfruit: [{kind: apple}]\n", "x.yaml")
    changed = apply_overrides(source, parse_overrides(["size=5", "fruit.0.weight=2.5", "boxes.one={}"]))
    assert validate(Basket, changed) == Basket(name="a", size=5, fruit=(Apple(weight=2.5),), boxes={"one": Apple()})
    assert source.data == {"name": "a", "fruit": [{"kind": "apple"}]}
    with pytest.raises(RecipeError, match="did you mean 'size'"):
        validate(Basket, apply_overrides(source, {"siez": 5}))


@pytest.mark.parametrize("assignment", ["fruit.7.weight=1", "fruit.x=1", "name.first=x", "novalue", "=3"])
def test_overrides_that_lead_nowhere(assignment: str) -> None:
    source = parse_recipe("name: a\nfruit: [{kind: apple}]\n", "x.yaml")
    with pytest.raises(RecipeError):
        apply_overrides(source, parse_overrides([assignment]))
