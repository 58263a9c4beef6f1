"""`lmpipe init`: a recipe to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lmpipe.cli.options import JsonOption
from lmpipe.cli.terminal import out, print_json


def init(
    template: Annotated[str | None, typer.Argument(help="Which template; `--list` shows them.", show_default=False)] = None,
    folder: Annotated[Path | None, typer.Argument(help="The folder to make.", show_default=False)] = None,
    start: Annotated[
        str,
        typer.Option(
            "--from", help="A model to go on from: a bundle, a folder, or hub:org/name. Else from scratch.", show_default=False
        ),
    ] = "",
    list_: Annotated[bool, typer.Option("--list", help="Show all templates.")] = False,
    json: JsonOption = False,
) -> None:
    """Write a recipe (and, where it needs one, a small data file) into a new folder."""
    from lmpipe.recipes.templating import list_templates, next_steps, write_template

    if list_ or template is None:
        templates = list_templates()
        if json:
            print_json(templates)
        else:
            for name, purpose in templates.items():
                out.print(f"[bold]{name:<12}[/] {purpose}")
        return
    target = folder or Path(template)
    written = write_template(template, target, start)
    if json:
        print_json([str(path) for path in written])
        return
    for path in written:
        out.print(f"wrote {path}")
    out.print("next:")
    width = max(len(command) for command, _ in next_steps(template, target))
    for command, purpose in next_steps(template, target):
        out.print(f"  {command:<{width}}  {purpose}", highlight=False, markup=False, soft_wrap=True)
