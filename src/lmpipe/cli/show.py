"""`lmpipe show`: what a run measured."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from lmpipe.cli.options import JsonOption, StoreOption
from lmpipe.cli.terminal import MARKS, out, print_json, seconds_text

RunArgument = Annotated[
    str, typer.Argument(help="A run: its recipe's path, its name, its id, or its bundle's folder.", show_default=False)
]


def show(
    run: Annotated[str | None, typer.Argument(help="A run's recipe, name, id or bundle; none: list the runs.")] = None,
    store: StoreOption = "store",
    json: JsonOption = False,
) -> None:
    """Show a run's metrics, findings and verdict; without a run, list the runs of the store."""
    from lmpipe.recipes.results import list_runs, open_run

    if run is None:
        runs = list_runs(store)
        if json:
            print_json([entry.to_json() for entry in runs])
        for entry in [] if json else runs:
            verdict = MARKS.get(entry.verdict_word, entry.status)
            out.print(f"{entry.id}  {entry.started_at:%Y-%m-%d %H:%M}  {entry.name:<20} {verdict}")
        return
    found = open_run(run, store=store)
    if json:
        print_json(found.to_json())
        return
    out.print(f"[bold]{found.name}[/]  run {found.id}  {MARKS.get(found.verdict_word, found.status)}")
    out.print(_numbers("metric", [(m.name, m.value, m.interval, m.unit) for m in found.metrics]))
    for repeated in found.repeats:
        out.print(_repeats(repeated))
    out.print(_numbers("finding", [(f.name, f.value, f.interval, f.unit) for f in found.findings]))
    for requirement in found.verdict.requirements if found.verdict else ():
        out.print(f"{MARKS[requirement.verdict]}  {requirement.subject}: {requirement.reason}")
    out.print(f"spent   {seconds_text(found.seconds)}\nbundle  {found.bundle}\nreport  {found.report}")


def _repeats(given: Any) -> Table:
    """One table of `Run.repeats`."""
    table = Table(title=f"{given.subject}: {given.title}", title_justify="left", box=None, pad_edge=False)
    for column in ("", *given.columns):
        table.add_column(column, justify="right" if column else "left")
    for row in given.rows:
        table.add_row(row.name, *(_number(number) for number in row.numbers))
    return table


def _number(given: Any) -> str:
    if given is None:
        return ""
    span = f" \\[{given.low:.4g}, {given.high:.4g}]" if given.low is not None else ""
    return f"{given.value:.4g}{span}"


def _numbers(title: str, rows: list[tuple[str, float, object, str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(title)
    table.add_column("value", justify="right")
    table.add_column("interval")
    table.add_column("unit")
    for name, value, interval, unit in rows:
        span = f"[{interval.low:.4g}, {interval.high:.4g}]" if interval else ""  # type: ignore[attr-defined]
        table.add_row(name, f"{value:.4g}", span.replace("[", "\\["), unit)
    return table
