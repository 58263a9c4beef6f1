"""Conversations that must go a certain way: the bot's tests, written by its author."""

from __future__ import annotations

from datetime import date

from pydantic import Field

from lmpipe.base.config import Config
from lmpipe.serving.chatbot.names import Label, Name, Text, Value

STORIES_PASSED, STEPS_PASSED = "stories.passed", "stories.steps_passed"
METRICS = (STORIES_PASSED, STEPS_PASSED)
"""What telling stories measures, for checking a gate before anything runs."""


class StepConfig(Config):
    """One message, and what is expected of the bot. What is not said is not checked."""

    user: Text
    """The message."""
    intent: Label | None = None
    """The most probable intent."""
    in_scope: bool | None = None
    """Whether the message is taken to be understood."""
    entities: dict[Name, Value] | None = None
    """All entities that are found, and their values."""
    action: str | None = None
    """What the bot does, such as `ask`, or `ask:city` with what it is about."""
    response: Name | None = None
    """A response that it says."""
    says: Text | None = None
    """Words that the reply has, whatever their case."""
    slots: dict[Name, Value | None] | None = None
    """Values of slots after the message; null: none."""
    cites: tuple[str, ...] | None = None
    """The snippets that the answer names, in order."""


class StoryConfig(Config):
    """One conversation."""

    name: str = Field(min_length=1, max_length=200)
    """What it shows."""
    today: date = date(2026, 3, 2)
    """The day on which it is (a Monday, unless another is given)."""
    steps: tuple[StepConfig, ...] = Field(min_length=1, max_length=200)
    """From the first message on."""
