"""`lmpipe chat`: talk to a bundle in the terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from lmpipe.cli.options import StoreOption, ThreadsOption

BundleArgument = Annotated[
    str, typer.Argument(help="A bundle's folder, or a run: its recipe's path, its name or its id.", show_default=False)
]


def chat(
    bundle: BundleArgument,
    store: StoreOption = "store",
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0, max=2, help="0: always the most probable token.", show_default="0.8; of a chatbot as its recipe says"
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens of one answer, at most.", show_default="200; of a chatbot as its recipe says"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Equal seeds give equal answers.", show_default=False)] = None,
    threads: ThreadsOption = 0,
) -> None:
    """Talk to a model in the terminal; what it writes streams as it is drawn. A base model continues your text.

    A bundle with a chatbot answers by its rules; /why tells which."""
    from lmpipe.recipes.talking import chat_in_terminal

    chat_in_terminal(bundle, store=store, temperature=temperature, max_tokens=max_tokens, seed=seed, threads=threads)
