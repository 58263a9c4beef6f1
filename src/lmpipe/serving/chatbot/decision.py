"""What the bot has decided to do about one message, why, and how the state is afterwards. Plain values; computes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from lmpipe.serving.chatbot.config import ChatbotConfig
from lmpipe.serving.chatbot.grounding.index import Hit
from lmpipe.serving.chatbot.names import Value
from lmpipe.serving.chatbot.state import State
from lmpipe.serving.chatbot.understanding import Understanding

Action = Literal[
    "respond",  # say something
    "small_talk",  # chat, by a generator where there is one
    "ground",  # answer from snippets
    "no_answer",  # say that no snippet answers
    "ask",  # ask for a slot
    "confirm",  # show what was understood and ask whether it is right
    "change",  # ask what is wrong
    "complete",  # a form is complete
    "cancel",  # a form is given up
    "disambiguate",  # ask which of two intents is meant
    "rephrase",  # ask for other words
    "offer",  # name intents to choose from
    "hand_over",  # a person takes over
    "refuse",  # the message is empty or too long
    "silent",  # a person has taken over
]


@dataclass(frozen=True)
class Reason:
    """Why something was decided."""

    where: str
    """The part of the configuration that decided: `rules.2`, `forms.booking`, `fallback.steps.1`."""
    text: str
    """In words."""
    numbers: dict[str, float] = field(default_factory=dict)
    """The numbers that it rests on."""

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {number:.3g}" for name, number in self.numbers.items())
        return f"{self.where}: {self.text}" + (f" ({numbers})" if numbers else "")


@dataclass(frozen=True)
class Say:
    """A response to be said."""

    response: str
    variant: int
    """Counts on from 0; the variants take turns."""


@dataclass(frozen=True)
class Answer:
    """An answer from snippets, to be written or quoted."""

    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class Chat:
    """Small talk, to be written by a generator, or said where there is none."""

    otherwise: Say


Part = Say | Answer | Chat


@dataclass(frozen=True)
class Event:
    """Something that whoever runs the bot has to act on."""

    kind: Literal["form_completed", "form_cancelled", "handed_over"]
    form: str = ""
    slots: dict[str, Value] = field(default_factory=dict)
    """All values of the form, personal ones included."""
    summary: str = ""
    """For the person who takes over; personal values are left out."""


@dataclass(frozen=True)
class Decision:
    """What is done."""

    action: Action
    reason: Reason
    after: State
    """The state afterwards, without the turn itself."""
    say: tuple[Part, ...] = ()
    about: str = ""
    """The slot that is asked for, the form, the response, the intents."""
    choices: tuple[str, ...] = ()
    """Intents to choose from."""
    event: Event | None = None


@dataclass(frozen=True)
class Moment:
    """Everything that a decision depends on."""

    config: ChatbotConfig
    state: State
    understanding: Understanding
    threshold: float
    today: date
    search: Callable[[str], list[Hit]]
    """The snippets that answer a question."""
    understand: Callable[[str], Understanding]
    """For the message that a choice was about."""

    def numbers(self) -> dict[str, float]:
        """What is known of the intent."""
        return {"probability": self.understanding.probability, "threshold": self.threshold, "margin": self.understanding.margin}

    def speak(self, response: str) -> Say:
        """A response in its next variant."""
        return Say(response, self.state.turn)
