"""`lmpipe tokenizer`: tokenizers side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lmpipe.cli.options import JsonOption, StoreOption
from lmpipe.cli.terminal import out, print_json

app = typer.Typer(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})

WIDTH = 110
"""The table is not squeezed below this where its reader is no terminal."""
COLUMNS = {
    "fertility": ("tokens\n/word", "{:.3f}"),
    "bytes_per_token": ("bytes\n/token", "{:.3f}"),
    "characters_per_token": ("chars\n/token", "{:.3f}"),
    "round_trip_fraction": ("comes\nback", "{:.1%}"),
    "unknown_fraction": ("un-\nknown", "{:.2%}"),
    "used_fraction": ("vocab\nused", "{:.1%}"),
}


@app.callback()
def tokenizer() -> None:
    """Tokenizers, before one of them is chosen."""


@app.command()
def compare(
    tokenizers: Annotated[
        list[str], typer.Argument(help="Folders with a tokenizer.json, bundles, or such files.", show_default=False)
    ],
    on: Annotated[
        str, typer.Option("--on", help="Text: a file, a folder, or RUN:CORPUS (held-out text of a run).", show_default=False)
    ],
    by: Annotated[
        str | None, typer.Option(help="Also by a column of the documents: language, source, ...", show_default=False)
    ] = None,
    store: StoreOption = "store",
    json: JsonOption = False,
) -> None:
    """Compare tokenizers on the same text: tokens per word, bytes per token, what comes back, what is unknown or never used."""
    from lmpipe.recipes.tokenizing import compare as ask

    rows = ask(tokenizers, on, by=by, store=store)
    if json:
        print_json(rows)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("tokenizer", *([by] if by else [])):
        table.add_column(column, overflow="fold")
    for heading in ("vocab", "docs", "tokens", *(heading for heading, _ in COLUMNS.values())):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        counts = [f"{row[key]:,}" for key in ("vocab_size", "documents", "tokens")]
        shares = [form.format(row[key]) if row[key] is not None else "-" for key, (_, form) in COLUMNS.items()]
        table.add_row(_short(row["tokenizer"], tokenizers), *([row["group"]] if by else []), *counts, *shares)
    Console(highlight=False, width=max(out.width, WIDTH)).print(table)


def _short(name: str, names: list[str]) -> str:
    """The last part of a path, where that tells it from the others."""
    ends = {one: Path(one.removesuffix("/tokenizer.json")).name for one in names}
    return ends[name] if len(set(ends.values())) == len(set(names)) else name
