"""Talking to a bundle: finding it by run or folder, then the terminal or the server."""

from __future__ import annotations

import sys
from collections.abc import Callable

from lmpipe.base.extras import require
from lmpipe.base.runtime import Runtime
from lmpipe.recipes.results import find_bundle


def chat_in_terminal(
    reference: str, *, store: str, temperature: float, max_tokens: int, seed: int | None, threads: int
) -> None:
    """Answer on the terminal until the user leaves.

    Raises:
        RecipeError: when there is no such bundle.
        DamagedError: when its bytes are not those that were packaged.
    """
    folder = find_bundle(reference, store)
    for module in ("torch", "tokenizers"):
        require(module, extra="train", purpose="talking to a model")
    from lmpipe.serving.bundle import load_bundle
    from lmpipe.serving.terminal import chat

    bundle = load_bundle(folder, threads=Runtime(threads=threads).resolved_threads())

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    chat(bundle, read=input, write=write, temperature=temperature, max_tokens=max_tokens, seed=seed)


def serve_over_http(reference: str, *, store: str, host: str, port: int, threads: int, announce: Callable[[str], None]) -> None:
    """Serve until stopped.

    Raises:
        RecipeError: when there is no such bundle.
        ServingError: when the port is taken.
    """
    folder = find_bundle(reference, store)
    for module in ("fastapi", "uvicorn", "prometheus_client"):
        require(module, extra="serve", purpose="the server")
    from lmpipe.serving.server import serve

    serve(folder, host=host, port=port, threads=Runtime(threads=threads).resolved_threads(), announce=announce)
