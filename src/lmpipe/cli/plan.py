"""`lmpipe plan`: what would be computed, why, and what it costs."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from lmpipe.base.runtime import Runtime
from lmpipe.cli.options import (
    CompileOption,
    DeviceOption,
    JsonOption,
    ProcessesOption,
    RecipeArgument,
    SetOption,
    ShardOption,
    StoreOption,
    ThreadsOption,
)
from lmpipe.cli.terminal import bytes_text, out, print_json, seconds_text

STATUS = {"hit": "[green]hit[/]", "miss": "[yellow]miss[/]", "depends": "[dim]depends[/]"}


def plan(
    recipe: RecipeArgument,
    set_: SetOption = None,
    store: StoreOption = "store",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    processes: ProcessesOption = 1,
    shard: ShardOption = False,
    compile_: CompileOption = True,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Train for ten seconds to predict time and memory.")] = False,
    json: JsonOption = False,
) -> None:
    """Show what a run would compute and why, field by field, and what it costs, before anything is spent."""
    from lmpipe.recipes.planning import plan as make_plan
    from lmpipe.recipes.validation import parse_overrides

    runtime = Runtime(store=store, device=device, threads=threads, processes=processes, shard=shard, compile=compile_)
    result = make_plan(recipe, parse_overrides(set_ or []), runtime=runtime, calibrate=calibrate)
    if json:
        print_json(result.to_json())
        return
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "", "why"):
        table.add_column(column)
    for row in result.rows:
        table.add_row(row.name, STATUS[row.status], "\n".join([row.reason, *row.changes[:8]]))
    out.print(table)
    numbers = result.estimates
    out.print(f"\nparameters       {numbers['parameters']:,}")
    for topic, sentence in numbers["derived"].items():
        out.print(f"{topic.replace('_', ' '):<17}{sentence}")
    if numbers["training_tokens"] is None:
        out.print("training         by epochs: as many tokens as the corpus turns out to have")
    else:
        out.print(f"training         {numbers['training_tokens']:,} tokens, {numbers['training_flops']:.2e} FLOPs")
    if numbers["trainings"] > 1:
        whole = "" if numbers["training_flops"] is None else f": {numbers['trainings'] * numbers['training_flops']:.2e} FLOPs"
        out.print(f"repeats          {numbers['trainings']} trainings instead of one{whole}")
    if processes > 1:
        held = "a part of the weights each" if shard else "all weights each"
        out.print(f"processes        {processes}, {max(1, runtime.resolved_threads() // processes)} threads and {held}")
    for call in numbers["calls"]:
        out.print(f"{call['stage']:<17}{call['says']} to {call['generator']}")
    for name, cost in numbers["stages"].items():
        memory = bytes_text(cost["peak_memory_bytes"])
        out.print(
            f"{name:<17}{seconds_text(cost['seconds'])}, {memory} peak memory, {cost['watt_hours']:.1f} Wh ({cost['method']})"
        )
    if processes > 1:
        out.print("time and memory  not predicted for several processes")
    elif not numbers["stages"]:
        out.print("time and memory  not known on this machine yet: --calibrate trains for ten seconds to predict them")
    out.print("money            none is asked for here; at a price per hour, multiply the time")
