"""`lmpipe run`: compute what is missing."""

from __future__ import annotations

import typer
from rich.text import Text

from lmpipe.base.runtime import Runtime
from lmpipe.cli.options import (
    CompileOption,
    DeviceOption,
    DocumentSecondsOption,
    IsolateOption,
    JsonOption,
    MachinesOption,
    OnOption,
    ProcessesOption,
    RecipeArgument,
    RendezvousOption,
    RestartsOption,
    SetOption,
    ShardOption,
    StoreOption,
    ThreadsOption,
    TrackOption,
    WorkersOption,
)
from lmpipe.cli.terminal import EXIT_CODES, MARKS, err, out, print_json

STYLES = {"good": "green", "bad": "red", "unsure": "yellow", "command": "cyan"}


def run(
    recipe: RecipeArgument,
    set_: SetOption = None,
    store: StoreOption = "store",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    processes: ProcessesOption = 1,
    shard: ShardOption = False,
    restarts: RestartsOption = 0,
    machines: MachinesOption = 1,
    rendezvous: RendezvousOption = "",
    workers: WorkersOption = 0,
    on: OnOption = "local",
    document_seconds: DocumentSecondsOption = 300.0,
    compile_: CompileOption = True,
    isolate: IsolateOption = True,
    track: TrackOption = "",
    json: JsonOption = False,
) -> None:
    """Compute what is missing, with progress. Killed at any moment, the same command goes on.

    Ends with 0 for GO (or no gate), 3 for NO-GO, 4 for INCONCLUSIVE.
    """
    from lmpipe.cli.live import LiveRun
    from lmpipe.recipes.running import run as run_recipe
    from lmpipe.recipes.validation import parse_overrides

    runtime = Runtime(
        store=store,
        device=device,
        threads=threads,
        processes=processes,
        shard=shard,
        restarts=restarts,
        machines=machines,
        rendezvous=rendezvous,
        workers=workers,
        on=on,
        document_seconds=document_seconds,
        compile=compile_,
        isolate=isolate,
        track=track,
    )
    with LiveRun() as live:
        result = run_recipe(recipe, set=parse_overrides(set_ or []), runtime=runtime, progress=live)
    if json:
        print_json(result.to_json())
    else:
        for label, text, tone in result.summary():
            out.print(Text.assemble((f"{label:<10} ", "bold"), (text.replace("\n", "\n" + " " * 11), STYLES.get(tone, ""))))
    if EXIT_CODES.get(result.verdict_word):
        err.print(f"the gate says {MARKS[result.verdict_word]}")
        raise typer.Exit(EXIT_CODES[result.verdict_word])
