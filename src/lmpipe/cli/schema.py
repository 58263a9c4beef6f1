"""`lmpipe schema`: the recipe's JSON Schema, for editors."""

from __future__ import annotations

from lmpipe.cli.terminal import print_json


def schema() -> None:
    """Print the JSON Schema of recipes, so that an editor completes and checks them."""
    from lmpipe.recipes.schema import json_schema

    print_json(json_schema())
