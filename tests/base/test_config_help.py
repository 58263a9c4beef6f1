"""A field's help is the docstring under it: own, inherited, and nothing where there is none."""

from __future__ import annotations

from lmpipe.base.config import Config, field_help


class Parent(Config):
    """Has one field."""

    inherited: int = 1
    """From the parent,
    in two lines."""


class Child(Parent):
    """Has two more."""

    own: int = 2
    """Its own."""
    silent: int = 3


def test_help_is_found_in_the_source() -> None:
    assert field_help(Child) == {"inherited": "From the parent,\nin two lines.", "own": "Its own."}


def test_the_schema_shows_it() -> None:
    properties = Child.model_json_schema()["properties"]
    assert properties["own"]["description"] == "Its own."
    assert "description" not in properties["silent"]


def test_a_class_without_source_has_none() -> None:
    made = type("Made", (Config,), {"__module__": "nowhere"})
    assert field_help(made) == {}
