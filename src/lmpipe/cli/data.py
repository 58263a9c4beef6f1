"""`lmpipe data`: why a document was dropped, sources taken out, the data card."""

from __future__ import annotations

from typing import Annotated

import typer

from lmpipe.cli.options import (
    CompileOption,
    DeviceOption,
    JsonOption,
    RecipeArgument,
    SetOption,
    StoreOption,
    ThreadsOption,
    WorkersOption,
)
from lmpipe.cli.show import RunArgument
from lmpipe.cli.terminal import EXIT_CODES, err, out, print_json

app = typer.Typer(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
CorpusOption = Annotated[str | None, typer.Option(help="Only this corpus.", show_default=False)]


@app.command()
def why(
    run: RunArgument,
    id_: Annotated[
        str, typer.Argument(metavar="ID", help="A document's id, as cards and reports name it.", show_default=False)
    ],
    corpus: CorpusOption = None,
    store: StoreOption = "store",
    json: JsonOption = False,
) -> None:
    """Say what happened to a document: its source, each step's verdict with rule, value and threshold, and where it is now."""
    from lmpipe.recipes.documents import why as ask

    fate = ask(run, id_, store=store, corpus=corpus)
    if json:
        print_json(fate.to_json())
        return
    for line in fate.lines():
        out.print(line, markup=False)


@app.command()
def remove(
    recipe: RecipeArgument,
    source: Annotated[str, typer.Option(help="A glob over names of sources: books/emma.txt, 'crawl/*'.", show_default=False)],
    corpus: CorpusOption = None,
    set_: SetOption = None,
    store: StoreOption = "store",
    device: DeviceOption = "auto",
    threads: ThreadsOption = 0,
    workers: WorkersOption = 0,
    compile_: CompileOption = True,
    json: JsonOption = False,
) -> None:
    """Take sources out and rebuild everything that holds them. The recipe's file stays; the run's record keeps the exclusion.

    Ends as `lmpipe run` does: 0, 3 or 4 by the gate.
    """
    from lmpipe.base.runtime import Runtime
    from lmpipe.cli.live import LiveRun
    from lmpipe.recipes.removal import remove as take_out
    from lmpipe.recipes.validation import parse_overrides

    runtime = Runtime(store=store, device=device, threads=threads, workers=workers, compile=compile_)
    with LiveRun() as live:
        done = take_out(recipe, source, set=parse_overrides(set_ or []), corpus=corpus, runtime=runtime, progress=live)
    if json:
        print_json(done.to_json())
    else:
        out.print(
            f"removed    {len(done.sources)}: {', '.join(done.sources[:5])}{' ...' if len(done.sources) > 5 else ''}",
            markup=False,
        )
        for label, text, _ in done.run.summary():
            out.print(f"{label:<10} {text}", markup=False)
        out.print("earlier runs still hold it: lmpipe gc --keep 1 --delete removes them, an hour from now", markup=False)
        out.print(f"to keep it out, write into {recipe}:", markup=False)
        for path, value in done.overrides.items():
            out.print(f"  {path}: {value}", markup=False)
    if EXIT_CODES.get(done.run.verdict_word):
        err.print(f"the gate says {done.run.verdict_word}")
        raise typer.Exit(EXIT_CODES[done.run.verdict_word])


@app.command()
def card(run: RunArgument, store: StoreOption = "store", json: JsonOption = False) -> None:
    """Show the data card of a run: every corpus from its sources to its splits, what each rule dropped, what each step cost."""
    from lmpipe.recipes.documents import cards
    from lmpipe.recipes.reporting import data_card_text

    accounts = cards(run, store=store)
    if json:
        print_json(accounts)
        return
    out.print(data_card_text(accounts), markup=False)
