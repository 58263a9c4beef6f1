"""`lmpipe check`: is the recipe right, before anything is spent."""

from __future__ import annotations

from lmpipe.cli.options import JsonOption, RecipeArgument, SetOption
from lmpipe.cli.terminal import out, print_json


def check(recipe: RecipeArgument, set_: SetOption = None, json: JsonOption = False) -> None:
    """Check a recipe: schema, unknown and dead keys, files present, optional parts installed."""
    from lmpipe.recipes.project import open_project
    from lmpipe.recipes.validation import parse_overrides

    project = open_project(recipe, parse_overrides(set_ or []))
    facts = project.check()
    if json:
        print_json(facts)
        return
    out.print(f"[bold green]ok[/]  {recipe}: {facts['stages']} stages, {facts['files']} source files, {facts['bytes']:,} bytes")
