"""Options that several commands share. None mirrors a field of the recipe: those are set by `--set`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

RecipeArgument = Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one field: --set train.0.tokens=1_000_000 (repeatable).", metavar="KEY=VALUE"),
]
StoreOption = Annotated[
    str, typer.Option("--store", envvar="LMPIPE_STORE", help="Where results live: a folder or an fsspec URL.")
]
DeviceOption = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where models are trained and run.")]
ThreadsOption = Annotated[int, typer.Option(min=0, help="Compute threads; 0: as many as there are processors, at most 8.")]
ProcessesOption = Annotated[
    int,
    typer.Option(
        min=1, help="Processes that train one model together: each has its share of the threads, or a GPU of its own."
    ),
]
ShardOption = Annotated[
    bool, typer.Option("--shard", help="With --processes: each holds a part of weights and optimiser state (FSDP2), not all.")
]
MachinesOption = Annotated[
    int, typer.Option(min=1, help="Machines that train together, so many --processes on each; needs --rendezvous.")
]
RendezvousOption = Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the other --machines find this one.")]
RestartsOption = Annotated[
    int,
    typer.Option(min=0, help="With --processes: how often all start again from the last checkpoint when one dies."),
]
WorkersOption = Annotated[int, typer.Option(min=0, help="Processes of the data stages; 0: as many as there are processors.")]
OnOption = Annotated[
    str,
    typer.Option(
        "--on",
        metavar="ENGINE",
        help="Where data tasks are done: local, ray, ray://HOST:PORT, slurm or slurm:OPTIONS (sbatch's).",
    ),
]
DocumentSecondsOption = Annotated[
    float,
    typer.Option(
        min=1, help="A data worker from which nothing is heard for so long is replaced; its document counts as failed."
    ),
]
CompileOption = Annotated[
    bool, typer.Option("--compile/--no-compile", help="Compile the training step where a C++ compiler is installed.")
]
IsolateOption = Annotated[
    bool,
    typer.Option(
        "--isolate/--no-isolate",
        help="Each stage in a process of its own: its own memory figures, and its death is not the run's. In one "
        "process a debugger can look in.",
    ),
]
TrackOption = Annotated[
    str,
    typer.Option(
        "--track",
        envvar="LMPIPE_TRACK",
        metavar="TRACKERS",
        help="Show training in trackers, too: mlflow, wandb or mlflow,wandb (both stay on this machine unless their own "
        "variables say otherwise).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
