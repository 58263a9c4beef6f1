"""`lmpipe serve`: an OpenAI-compatible server with a web page."""

from __future__ import annotations

from typing import Annotated

import typer

from lmpipe.cli.chat import BundleArgument
from lmpipe.cli.options import StoreOption, ThreadsOption
from lmpipe.cli.terminal import err


def serve(
    bundle: BundleArgument,
    store: StoreOption = "store",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8000,
    threads: ThreadsOption = 0,
) -> None:
    """Serve a bundle: /v1/models, /v1/completions, /v1/chat/completions (OpenAI's API), /health, /metrics and a web page.

    With LMPIPE_API_KEY in the environment every API route wants that key.
    """
    from lmpipe.recipes.talking import serve_over_http

    serve_over_http(
        bundle, store=store, host=host, port=port, threads=threads, announce=lambda text: err.print(text, markup=False)
    )
