"""A piece of a message that means something."""

from __future__ import annotations

from dataclasses import dataclass

from lmpipe.serving.chatbot.names import Value


@dataclass(frozen=True)
class Entity:
    """`text[start:end]` of a message, and what it stands for."""

    name: str
    value: Value
    start: int
    end: int
    kind: str
    """The kind of config that found it."""
    edits: int = 0
    """Typing errors that were forgiven."""
