"""The state of a conversation: everything that the next reply depends on. Immutable, plain data, bounded, JSON there and back.

It holds what people wrote. Whoever keeps it (a channel, a server) keeps personal data; this room writes it to no log.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError

from lmpipe.base.config import Config
from lmpipe.base.errors import ServingError
from lmpipe.serving.chatbot.names import Value

FilledBy = Literal["entity", "message", "intent", "rule"]


class SlotValue(Config):
    """What a slot holds, and why."""

    name: str
    value: Value
    turn: int
    """The turn in which it was filled; the first message is turn 1."""
    by: FilledBy
    """What filled it: an entity, the whole message, an intent, a rule."""
    source: str = ""
    """Which entity or intent."""
    start: int = 0
    """Where it stands in that turn's message."""
    end: int = 0
    """Where it ends there; equal to `start` where it does not stand in the message."""


class ActiveForm(Config):
    """A form that runs."""

    name: str
    asked: str = ""
    """The slot that was asked for last."""
    asks: dict[str, int] = Field(default_factory=dict)
    """How often each slot was asked for."""
    skipped: tuple[str, ...] = ()
    """Optional slots that were asked for in vain."""
    stage: Literal["asking", "confirming", "changing"] = "asking"


class Pending(Config):
    """Intents between which the user was asked to choose, and the message that it is about."""

    intents: tuple[str, ...]
    message: str


class Turn(Config):
    """One message and its reply."""

    user: str
    intent: str
    """The most probable one; empty where the message was not looked at."""
    probability: float
    action: str
    bot: str


class State(Config):
    """A conversation so far."""

    format: Literal[1] = 1
    turn: int = 0
    """Messages so far."""
    slots: tuple[SlotValue, ...] = ()
    """What is remembered, by name."""
    form: ActiveForm | None = None
    """The form that runs."""
    pending: Pending | None = None
    """What the user was asked to choose."""
    fallbacks: int = 0
    """Messages in a row that were not understood."""
    handed_over: bool = False
    """Whether a person has taken over; the bot says nothing any more."""
    history: tuple[Turn, ...] = ()
    """The last turns."""

    def slot(self, name: str) -> SlotValue | None:
        """What a slot holds."""
        return next((slot for slot in self.slots if slot.name == name), None)

    def filled(self, *values: SlotValue) -> State:
        """With slots filled; what they held before is forgotten."""
        names = {value.name for value in values}
        kept = [slot for slot in self.slots if slot.name not in names]
        return self.model_copy(update={"slots": tuple(sorted([*kept, *values], key=lambda slot: slot.name))})

    def cleared(self, *names: str) -> State:
        """Without some slots."""
        return self.model_copy(update={"slots": tuple(slot for slot in self.slots if slot.name not in names)})

    def with_turn(self, turn: Turn, remembered: int) -> State:
        """With one more turn; only the last ones are remembered."""
        return self.model_copy(update={"history": (*self.history, turn)[-remembered:]})

    def to_json(self) -> str:
        """As text, for keeping between two messages."""
        return self.model_dump_json()


def state_from_json(text: str | bytes) -> State:
    """The inverse of `State.to_json`.

    Raises:
        ServingError: when it is no state of a conversation. Names the place, never what stands there.
    """
    try:
        return State.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ServingError(
            "this is no state of a conversation",
            where=".".join(str(step) for step in first["loc"]) or "the whole text",
            expected="what `State.to_json` wrote, by this version",
            fix="begin a new conversation",
        ) from None
