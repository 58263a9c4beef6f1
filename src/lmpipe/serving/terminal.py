"""Talking to a bundle in a terminal, or through a pipe: one line in, one streamed answer out.

A base model goes on with each line by itself; a model tuned to chat sees the whole conversation. Ctrl-C ends the answer, at the
prompt it (or Ctrl-D, or the end of the input) ends the program. Knows no screen: it is handed what reads and what writes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from typing import Any

from lmpipe.base.errors import LmpipeError
from lmpipe.serving.answers import Sampling, answer
from lmpipe.serving.bundle import Bundle
from lmpipe.serving.visible import visible
from lmpipe.tokens.chat import render

PROMPT = "> "
HELP = """\
/help              this text
/reset             forget what was said
/quit              leave (also Ctrl-D)
Ctrl-C             stop the answer

/temperature 0.8   0 to 2; 0 always takes the most probable token
/top-p 1           draw among the most probable that reach this probability
/top-k 0           draw among this many most probable; 0: among all
/max-tokens 200    length of an answer, at most
/seed 7            equal seeds give equal answers; /seed random

A line that shall begin with a slash is written with two."""

SETTINGS: dict[str, tuple[str, type[int] | type[float], float, float]] = {
    "/temperature": ("temperature", float, 0, 2),
    "/top-p": ("top_p", float, 0.001, 1),
    "/top-k": ("top_k", int, 0, 1_000_000),
    "/max-tokens": ("max_tokens", int, 1, 1_000_000),
    "/seed": ("seed", int, 0, (1 << 63) - 1),
}
"""Command to the field of `Sampling` that it sets, the kind of number, and its lowest and highest value."""


def chat(
    bundle: Bundle,
    *,
    read: Callable[[str], str],
    write: Callable[[str], None],
    temperature: float,
    max_tokens: int,
    seed: int | None,
) -> None:
    """Answer line by line until the user leaves.

    Args:
        bundle: who answers.
        read: as `input`: takes a prompt, gives a line, raises EOFError at the end and KeyboardInterrupt at Ctrl-C.
        write: shows a text at once, without a line end of its own.
        temperature: 0 takes the most probable token every time.
        max_tokens: tokens of one answer, at most.
        seed: the first answer's; each next one has the next number, so that equal input gives an equal conversation.
    """
    talk = _Conversation(bundle, Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed))
    write(_greeting(bundle))
    while True:
        try:
            line = read(PROMPT)
        except (EOFError, KeyboardInterrupt):
            write("\n")
            return
        command = line.strip()
        if command in ("/quit", "/exit"):
            return
        if command == "/help":
            write(HELP + "\n")
        elif command == "/reset":
            talk.messages.clear()
            write("forgotten\n")
        elif command.startswith("/") and not command.startswith("//"):
            write(_set(talk, command) + "\n")
        elif command:
            _show(talk, line.replace("//", "/", 1) if command.startswith("//") else line, write)


def _set(talk: _Conversation, command: str) -> str:
    """Do what a command with a setting says; what to tell the user."""
    name, _, value = (part.strip() for part in command.partition(" "))
    if name not in SETTINGS:
        return f"unknown command {name}\n{HELP}"
    field, number, lowest, highest = SETTINGS[name]
    if name == "/seed" and value == "random":
        talk.change(seed=None)
    elif value:
        try:
            given = number(value)
        except ValueError:
            given = number(-1)
        if not lowest <= given <= highest:
            return f"{name} takes {'a whole number' if number is int else 'a number'} from {lowest:g} to {highest:g}"
        talk.change(**{field: given})
    now = getattr(talk.sampling, field)
    return f"{name[1:]}: {'random' if now is None else now}"


def _show(talk: _Conversation, line: str, write: Callable[[str], None]) -> None:
    try:
        with closing(talk.answer(line)) as texts:
            for text in texts:
                write(visible(text))
    except KeyboardInterrupt:
        write(" [stopped]")
    except LmpipeError as error:
        write(str(error))
    write("\n")


class _Conversation:
    """What was said so far, and the way to the next answer."""

    def __init__(self, bundle: Bundle, sampling: Sampling) -> None:
        self.bundle, self.sampling = bundle, sampling
        self.messages: list[dict[str, str]] = []
        self.answers = 0

    def answer(self, line: str) -> Generator[str, None, None]:
        """The pieces of the answer. What was said of it is remembered, also where it is stopped."""
        prompt_ids = self._prompt_ids(line)
        seed = None if self.sampling.seed is None else self.sampling.seed + self.answers
        self.answers += 1
        said = ""
        try:
            for piece in answer(self.bundle.generator, self.bundle.tokenizer, prompt_ids, replace(self.sampling, seed=seed)):
                said += piece.text
                yield piece.text
        finally:
            self.messages.append({"role": "assistant", "content": said})

    def _prompt_ids(self, line: str) -> list[int]:
        if not self.bundle.tuned_to_chat:
            return self.bundle.tokenizer.encode_prompt(line)
        messages = [*self.messages, {"role": "user", "content": line}]
        prompt_ids = render(messages, self.bundle.tokenizer)
        self.messages = messages  # only now: a line that cannot be rendered is not remembered
        return prompt_ids

    def change(self, **settings: Any) -> None:
        """Set fields of `sampling`. A seed counts from the next answer on."""
        self.sampling = replace(self.sampling, **settings)
        if "seed" in settings:
            self.answers = 0


def _greeting(bundle: Bundle) -> str:
    verdict = f", the gate said {bundle.verdict}" if bundle.verdict else ""
    way = "Write a message." if bundle.tuned_to_chat else "It is a base model: it goes on with the text of each line."
    return f"{bundle.name}{verdict}. A small model: it may say wrong things.\n{way} /help shows the commands.\n"
