"""`lmpipe report`: the run's page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lmpipe.cli.options import JsonOption, StoreOption
from lmpipe.cli.show import RunArgument
from lmpipe.cli.terminal import out, print_json


def report(
    run: RunArgument,
    store: StoreOption = "store",
    output: Annotated[Path | None, typer.Option(help="Write the page here as well.", show_default=False)] = None,
    json: JsonOption = False,
) -> None:
    """Write one self-contained HTML page on a run: data, curves, evaluation, audits, cost, provenance."""
    from lmpipe.recipes.reporting import write_report

    path = write_report(run, store=store, output=output)
    if json:
        print_json({"report": str(path)})
    else:
        out.print(str(path), markup=False)
