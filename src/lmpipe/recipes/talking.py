"""Talking to a bundle: finding it by run or folder, then the terminal or the server."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from lmpipe.base.extras import require
from lmpipe.base.runtime import Runtime
from lmpipe.recipes.results import find_bundle
from lmpipe.serving.chatbot.names import CHATBOT

TEMPERATURE, MAX_TOKENS = 0.8, 200
"""Of a bundle that is no chatbot, where nothing else is said."""


def chat_in_terminal(
    reference: str, *, store: str, temperature: float | None, max_tokens: int | None, seed: int | None, threads: int
) -> None:
    """Answer on the terminal until the user leaves.

    Raises:
        RecipeError: when there is no such bundle.
        DamagedError: when its bytes are not those that were packaged.
    """
    folder = find_bundle(reference, store)
    if (folder / CHATBOT).is_dir():
        given = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
        _chat_with_bot(folder, {name: value for name, value in given.items() if value is not None}, threads)
        return
    for module in ("torch", "tokenizers"):
        require(module, extra="train", purpose="talking to a model")
    from lmpipe.serving.asking import ask
    from lmpipe.serving.bundle import load_any
    from lmpipe.serving.task_bundle import TaskBundle
    from lmpipe.serving.terminal import chat

    bundle = load_any(folder, threads=Runtime(threads=threads).resolved_threads())
    if isinstance(bundle, TaskBundle):
        ask(bundle, read=input, write=_write)
        return
    drawing = TEMPERATURE if temperature is None else temperature
    chat(bundle, read=input, write=_write, temperature=drawing, max_tokens=max_tokens or MAX_TOKENS, seed=seed)


def _chat_with_bot(folder: Path, settings: dict[str, float], threads: int) -> None:
    """Talk to the chatbot that a bundle carries; its model, where it has one that is tuned to chat, writes the answers."""
    require("numpy", extra="data", purpose="talking to a chatbot")
    require("safetensors", extra="train", purpose="talking to a chatbot")
    from lmpipe.serving.chatbot.folder import open_chatbot
    from lmpipe.serving.chatbot.terminal import chat_with_bot

    name, bot = open_chatbot(folder, settings, threads=Runtime(threads=threads).resolved_threads())
    chat_with_bot(bot, name, read=input, write=_write)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


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
