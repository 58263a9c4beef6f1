"""`lmpipe gc`: what in a store can go."""

from __future__ import annotations

from typing import Annotated

import typer

from lmpipe.cli.options import JsonOption, StoreOption
from lmpipe.cli.terminal import bytes_text, out, print_json


def gc(
    store: StoreOption = "store",
    keep: Annotated[int, typer.Option(min=0, help="Newest runs of each name whose stages stay.")] = 3,
    delete: Annotated[bool, typer.Option("--delete", help="Really remove; without it nothing is touched.")] = False,
    json: JsonOption = False,
) -> None:
    """Show (or, with --delete, remove) what no kept run needs: abandoned work, old stages. Never touches a stage in use.

    Nor one of the last hour: somebody may be about to use it.
    """
    from lmpipe.recipes.proving import collect_garbage

    rows = collect_garbage(store=store, keep=keep, delete=delete)
    if json:
        print_json(rows)
        return
    for row in rows:
        out.print(f"{bytes_text(row['bytes']):>10}  {row['path']}  ({row['reason']})", markup=False)
    total = bytes_text(sum(row["bytes"] for row in rows))
    out.print(
        f"{'removed' if delete else 'could go'}: {len(rows)} entries, {total}" + ("" if delete or not rows else "; --delete")
    )
