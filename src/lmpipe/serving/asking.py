"""Asking a model that answers, in a terminal or through a pipe: one line in, its class, number, tags or target out."""

from __future__ import annotations

from collections.abc import Callable

from lmpipe.base.errors import LmpipeError, ServingError
from lmpipe.serving.task_bundle import TaskBundle

PROMPT = "> "
SHOWN_CLASSES = 3


def ask(bundle: TaskBundle, *, read: Callable[[str], str], write: Callable[[str], None]) -> None:
    """Answer line by line until the user leaves.

    Args:
        bundle: what answers.
        read: as `input`: takes a prompt, gives a line, raises EOFError at the end and KeyboardInterrupt at Ctrl-C.
        write: shows a text at once, without a line end of its own.

    Raises:
        ServingError: when there is nothing that it could say to a line of text.
    """
    answer = _answers(bundle)
    write(f"{bundle.name}: a line of text, and it will {bundle.purpose} it. Ctrl-D leaves.\n")
    while True:
        try:
            line = read(PROMPT)
        except (EOFError, KeyboardInterrupt):
            write("\n")
            return
        if line.strip() in ("/quit", "/exit"):
            return
        if not line.strip():
            continue
        try:
            write(answer(line) + "\n")
        except LmpipeError as error:
            write(f"{error}\n")


def _answers(bundle: TaskBundle) -> Callable[[str], str]:
    def classify(line: str) -> str:
        found = bundle.classify([line])[0]
        ranked = sorted(found.probabilities.items(), key=lambda item: -item[1])[:SHOWN_CLASSES]
        rest = ", ".join(f"{name} {value:.0%}" for name, value in ranked)
        return f"{found.label or 'none of its classes'}{'' if found.sure else ' (not sure enough to say)'}   {rest}"

    def label(line: str) -> str:
        return ", ".join(f"{name} {value:.0%}" for name, value in bundle.label([line])[0].items()) or "none of its classes"

    known: dict[str, Callable[[str], str]] = {
        "classify": classify,
        "label": label,
        "score": lambda line: f"{bundle.score([line])[0]:.3g}",
        "tag": lambda line: "  ".join(f"{word}/{tag}" for word, tag in bundle.tag([line])[0]),
        "transform": lambda line: bundle.transform([line])[0],
    }
    if bundle.purpose not in known:
        raise ServingError(
            f"'{bundle.name}' turns texts into vectors, which say nothing on a terminal",
            where=str(bundle.folder),
            expected="a model that writes, classifies or tags",
            fix="lmpipe.load(...).embed([...]) in Python",
        )
    return known[bundle.purpose]
