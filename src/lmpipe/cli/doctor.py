"""`lmpipe doctor`: what is installed, what is missing, which extra brings it."""

from __future__ import annotations

from rich.table import Table

from lmpipe.cli.options import JsonOption
from lmpipe.cli.terminal import out, print_json


def doctor(json: JsonOption = False) -> None:
    """Show what is installed, what is missing and which extra brings it, and what this machine can do."""
    from lmpipe.recipes.diagnosis import diagnose

    facts = diagnose()
    if json:
        print_json(facts)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("extra", "module", "version", ""):
        table.add_column(column)
    for row in facts["modules"]:
        state = "" if row["version"] else f"[yellow]missing[/]: pip install 'lmpipe\\[{row['extra']}]'"
        table.add_row(row["extra"], row["module"], row["version"] or "-", state)
    out.print(table)
    out.print()
    for name, value in facts["machine"].items():
        out.print(f"{name:<22}{value}")
