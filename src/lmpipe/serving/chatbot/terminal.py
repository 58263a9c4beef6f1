"""Talking to a chatbot in a terminal, or through a pipe: one line in, one reply out. Knows no screen and no model."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing

from lmpipe.base.errors import LmpipeError
from lmpipe.serving.chatbot.session import Chatbot, Reply
from lmpipe.serving.chatbot.state import State
from lmpipe.serving.visible import visible

PROMPT = "> "
HELP = """\
/why      why the bot said that: the rule, the numbers, what was found
/slots    what it remembers, and since when
/reset    begin again
/quit     leave (also Ctrl-D)

A line that shall begin with a slash is written with two."""


def chat_with_bot(bot: Chatbot, name: str, *, read: Callable[[str], str], write: Callable[[str], None]) -> None:
    """Answer line by line until the user leaves.

    Args:
        bot: who answers.
        name: how it is called.
        read: as `input`: takes a prompt, gives a line, raises EOFError at the end and KeyboardInterrupt at Ctrl-C.
        write: shows a text at once, without a line end of its own.
    """
    greeting, state = bot.start()
    last: Reply | None = None
    writes = "answers are written by a model and may be wrong" if bot.writer else "answers are quoted"
    write(f"{name}: a chatbot for {len(bot.config.intents)} intents; {writes}. /help shows the commands.\n")
    write(f"{visible(greeting)}\n" if greeting else "")
    while True:
        try:
            line = read(PROMPT)
        except (EOFError, KeyboardInterrupt):
            write("\n")
            return
        command = line.strip()
        if command in ("/quit", "/exit"):
            return
        if command == "/reset":
            greeting, state = bot.start()
            last = None
            write(f"{visible(greeting) or 'begun again'}\n")
        elif command.startswith("/") and not command.startswith("//"):
            write(visible(_told(command, state, last)) + "\n")
        elif command:
            answered = _show(bot.stream(state, command.replace("//", "/", 1) if command.startswith("//") else line), write)
            last, state = answered or (last, state)


def _show(stream: Generator[str, None, tuple[Reply, State]], write: Callable[[str], None]) -> tuple[Reply, State] | None:
    """Show a reply as it is written; none where it was stopped or failed, and then the message counts as not said."""
    with closing(stream):
        try:
            while True:
                write(visible(next(stream)))
        except StopIteration as end:
            reply, state = end.value
            write("\n" if reply.text else "[a person has taken over; /reset begins again]\n")
            if reply.event is not None:
                write(visible(_event(reply)) + "\n")
            return reply, state
        except KeyboardInterrupt:
            write(" [stopped]\n")
        except LmpipeError as error:
            write(f"{error}\n")
    return None


def _event(reply: Reply) -> str:
    event = reply.event
    assert event is not None, "asked for only where there is one"
    if event.kind == "handed_over":
        return f"[handed over]\n{event.summary}"
    values = ", ".join(f"{name}={value}" for name, value in event.slots.items())
    return f"[{event.kind.replace('_', ' ')}: {event.form}{': ' + values if values else ''}]"


def _told(command: str, state: State, last: Reply | None) -> str:
    """What a command shows."""
    if command == "/slots":
        lines = [f"{slot.name} = {slot.value}   (turn {slot.turn}, {slot.by} {slot.source})".rstrip() for slot in state.slots]
        return "\n".join(lines) or "nothing yet"
    if command == "/why":
        return _why(last) if last else "nothing was said yet"
    return HELP if command == "/help" else f"unknown command {command.split()[0]}\n{HELP}"


def _why(reply: Reply) -> str:
    lines = [f"{reply.action} {reply.about}".rstrip(), str(reply.reason)]
    if reply.understanding is not None:
        lines.append(
            "intents: " + ", ".join(f"{intent} {probability:.2f}" for intent, probability in reply.understanding.ranking)
        )
        found = ", ".join(f"{entity.name}={entity.value}" for entity in reply.understanding.entities)
        lines.append(f"entities: {found or 'none'}")
    for hit in reply.hits:
        numbers = {"words": hit.words, "cosine": hit.cosine}
        shown = ", ".join(f"{name} {number:.2f}" for name, number in numbers.items() if number is not None)
        lines.append(f"snippet {hit.snippet.id}: {shown}")
    return "\n".join(lines)
