"""What a user may ask to be remembered (slots), and collected by asking (forms)."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config
from lmpipe.serving.chatbot.names import Label, Name, Value


class ValidConfig(Config):
    """Which values a slot takes."""

    one_of: tuple[Value, ...] = ()
    """Only these, where there are any."""
    at_least: float | None = None
    """For numbers."""
    at_most: float | None = None
    """For numbers."""
    pattern: str | None = None
    """A regular expression that the whole text must match."""
    not_past: bool = False
    """For dates: today or later."""
    response: Name = "invalid"
    """What is said where a value is not taken."""

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ValueError(f"the pattern '{self.pattern}' is no regular expression: {error}") from None
        return self


class SlotConfig(Config):
    """One thing that the bot remembers in a conversation."""

    name: Name
    """Stands in responses as `{name}`."""
    entities: tuple[Name, ...] = ()
    """What fills it: the first of these that a message has."""
    intents: dict[Label, Value] = Field(default_factory=dict)
    """Values that an intent stands for, when the slot is asked for: `{affirm: true, deny: false}`."""
    yes_no: bool = False
    """Whether agreeing and disagreeing (`understanding.yes` and `no`) answer its question with true and false."""
    whole_message: bool = False
    """Whether the whole message is the value where the slot was asked for and no entity was found: for names and free text."""
    fill: Literal["always", "in_form", "asked"] = "in_form"
    """When a message may fill it: any message; one that starts a form with this slot or comes while it runs; only the answer to
    the slot's own question."""
    valid: ValidConfig = ValidConfig()
    """Which values it takes."""
    personal: bool = False
    """Whether it is shown to nobody: summaries say that it was given."""


class QuestionConfig(Config):
    """One slot of a form."""

    slot: Name
    """What is wanted."""
    ask: Name
    """The response that asks for it. Its variants take turns when it is asked again."""
    optional: bool = False
    """Whether the form goes on without it when `max_asks` questions got no answer."""


class FormConfig(Config):
    """Slots that are collected, one question at a time, until all are there."""

    name: Name
    """What the form is called, in rules and events."""
    questions: tuple[QuestionConfig, ...] = Field(min_length=1, max_length=50)
    """What is asked, in this order; what is known is not asked."""
    max_asks: int = Field(default=3, ge=1, le=10)
    """How often one question is put in vain before the form is given up. A message that fills another slot was not in vain."""
    confirm: Name | None = None
    """A response that shows what was understood and asks whether it is right."""
    done: Name
    """What is said when all is there. The reply then carries the event `form_completed` with all values."""
    given_up: Literal["hand_over", "cancel"] = "hand_over"
    """What happens when a question was asked in vain."""
    fresh: bool = True
    """Whether values of this form from earlier in the conversation are forgotten when it begins."""

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of its slots, in the order of the questions."""
        return tuple(question.slot for question in self.questions)

    def question(self, slot: str) -> QuestionConfig:
        """The question for a slot."""
        return next(question for question in self.questions if question.slot == slot)

    @model_validator(mode="after")
    def _each_slot_once(self) -> Self:
        if len(set(self.slots)) < len(self.slots):
            raise ValueError(f"the form '{self.name}' asks twice for one slot; expected each slot once")
        return self
