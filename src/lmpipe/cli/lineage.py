"""`lmpipe lineage`: where a file came from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lmpipe.cli.options import JsonOption, StoreOption
from lmpipe.cli.terminal import out, print_json


def lineage(
    file: Annotated[Path, typer.Argument(help="Any file or folder of a store.", show_default=False)],
    store: StoreOption = "store",
    json: JsonOption = False,
) -> None:
    """Show where a file came from: every stage upstream, down to the raw files."""
    from lmpipe.recipes.proving import trace

    tree = trace(file, store=store)
    if json:
        print_json(tree.to_json())
    else:
        out.print(tree.to_text(), markup=False)
