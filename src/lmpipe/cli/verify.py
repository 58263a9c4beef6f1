"""`lmpipe verify`: is this the model that this file makes?"""

from __future__ import annotations

from typing import Annotated

import typer

from lmpipe.cli.options import JsonOption, StoreOption
from lmpipe.cli.show import RunArgument
from lmpipe.cli.terminal import err, out, print_json


def verify(
    run: RunArgument,
    store: StoreOption = "store",
    recompute: Annotated[
        list[str] | None,
        typer.Option(help="Compute these stages again in a fresh store and compare (repeatable; `all` for every stage)."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Recompute and compare digests: every file, the chain of inputs, the bundle; with --recompute the stages themselves."""
    from lmpipe.recipes.proving import prove

    result = prove(run, store=store, recompute=recompute or [], note=lambda text: err.print(text, markup=False))
    if json:
        print_json(result.to_json())
    else:
        for line in result.lines():
            out.print(line, markup=False)
    if not result.holds:
        raise typer.Exit(1)
