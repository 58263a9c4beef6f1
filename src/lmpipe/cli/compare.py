"""`lmpipe compare`: two runs side by side."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from lmpipe.cli.options import JsonOption, StoreOption
from lmpipe.cli.terminal import out, print_json


def compare(
    first: Annotated[str, typer.Argument(help="A run: recipe, name, id or bundle.", show_default=False)],
    second: Annotated[str, typer.Argument(help="Another run.", show_default=False)],
    store: StoreOption = "store",
    json: JsonOption = False,
) -> None:
    """Compare two runs: every metric with its interval, the paired difference on the same test text, and what differs."""
    from lmpipe.recipes.comparing import compare_runs

    result = compare_runs(first, second, store=store)
    if json:
        print_json(result)
        return
    table = Table(box=None, pad_edge=False)
    tested = any(row["p"] for row in result["metrics"])
    for column in ("metric", result["first"], result["second"], "difference", *(["corrected p"] if tested else []), ""):
        table.add_column(column, overflow="fold")  # a name cut short would tell no metric from another
    for row in result["metrics"]:
        p = [row["p"]] if tested else []
        table.add_row(row["name"], row["first"], row["second"], row["difference"], *p, row["answer"])
    out.print(table)
    out.print(result["summary"], markup=False)
    for change in result["recipe_changes"]:
        out.print(f"recipe  {change}", markup=False)
