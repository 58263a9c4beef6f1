"""What a user may ask of the bot's behaviour: rules, falling back, handing over to a person, limits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lmpipe.base.config import Config
from lmpipe.serving.chatbot.names import Label, Name, Value


class Respond(Config):
    """Say something. A form that runs goes on afterwards."""

    kind: Literal["respond"] = "respond"
    response: Name
    """What is said."""


class SmallTalk(Config):
    """Chat a little: a generator, where there is one, writes the answer; else a response is said. A form goes on afterwards."""

    kind: Literal["small_talk"] = "small_talk"
    response: Name
    """What is said without a generator."""


class Ground(Config):
    """Answer from the snippets, and say which; where none fits, say that."""

    kind: Literal["ground"] = "ground"


class StartForm(Config):
    """Collect what a form wants."""

    kind: Literal["form"] = "form"
    form: Name
    """Which one."""


class HandOver(Config):
    """Hand the conversation over to a person."""

    kind: Literal["hand_over"] = "hand_over"


class Cancel(Config):
    """Give up the form that runs."""

    kind: Literal["cancel"] = "cancel"
    response: Name = "cancelled"
    """What is said; without a form, too."""


DoConfig = Annotated[Respond | SmallTalk | Ground | StartForm | HandOver | Cancel, Field(discriminator="kind")]


class ConditionConfig(Config):
    """What must hold of a slot."""

    slot: Name
    """Which one."""
    filled: bool = True
    """Whether it must have a value or must have none."""
    equals: Value | None = None
    """The value that it must have."""


class RuleConfig(Config):
    """What the bot does when it understood an intent. Of several rules that fit, the first one counts."""

    on: Label | tuple[Label, ...]
    """The intent, or several."""
    when: tuple[ConditionConfig, ...] = ()
    """What must hold besides."""
    do: DoConfig
    """What is done."""
    set: dict[Name, Value] = Field(default_factory=dict)
    """Slots that get a value before it is done."""

    @property
    def intents(self) -> tuple[str, ...]:
        """The intents that it is for."""
        return (self.on,) if isinstance(self.on, str) else self.on


class FallbackConfig(Config):
    """What happens when a message is not understood."""

    search_first: bool = False
    """Whether the snippets are searched first; a good find is the answer."""
    steps: tuple[Literal["rephrase", "offer", "hand_over"], ...] = Field(
        default=("rephrase", "offer", "hand_over"), min_length=1, max_length=10
    )
    """At the first message in a row that is not understood, at the second, and so on; the last one stays. `rephrase` asks for
    other words, `offer` names the most probable intents to choose from."""
    choices: int = Field(default=3, ge=1, le=9)
    """How many intents are offered."""


class HandOverConfig(Config):
    """What a person gets to see who takes over."""

    turns: int = Field(default=10, ge=1, le=1000)
    """Last turns of the conversation in the summary."""


class LimitsConfig(Config):
    """What keeps a conversation small."""

    characters: int = Field(default=1000, ge=10, le=20_000)
    """Of one message; a longer one is refused, not cut."""
    history: int = Field(default=20, ge=1, le=1000)
    """Turns that the state remembers."""
