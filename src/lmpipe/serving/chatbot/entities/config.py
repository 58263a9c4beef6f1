"""What a user may ask to be found in messages: patterns, words of a list, numbers, dates, times, addresses, tagged spans."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config
from lmpipe.serving.chatbot.names import Name


class _EntityConfig(Config):
    name: Name
    """What such a piece of a message is called."""
    after: tuple[str, ...] = ()
    """Words of which one must stand directly before, such as `[from, leaving]`: this tells two places of one message apart.
    Not needed where the bot has just asked for it."""


class PatternConfig(_EntityConfig):
    """What a regular expression matches."""

    kind: Literal["pattern"] = "pattern"
    pattern: str = Field(min_length=1, max_length=1000)
    """As Python spells them. Its first group, where it has one, is the value. Messages are bounded (`limits.characters`), yet a
    pattern with repeats inside repeats, such as `(a+)+`, can still take very long: avoid them."""
    ignore_case: bool = True
    """Whether small and capital letters are the same."""
    change: Literal["none", "upper", "lower"] = "none"
    """What is done to the value."""

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        try:
            matched = re.compile(self.pattern).match("")
        except re.error as error:
            raise ValueError(f"the pattern '{self.pattern}' is no regular expression: {error}") from None
        if matched is not None and not re.compile(self.pattern).pattern.startswith("^"):
            raise ValueError(f"the pattern '{self.pattern}' matches an empty text; expected one that needs a character")
        return self


class LookupConfig(_EntityConfig):
    """One of some known things, however it is spelled."""

    kind: Literal["lookup"] = "lookup"
    values: dict[str, tuple[str, ...]] = Field(min_length=1)
    """The value, and other spellings of it: `{london: [LDN, city of london]}`. The value itself is always known."""
    max_edits: int = Field(default=1, ge=0, le=2)
    """Typing errors that are forgiven (a letter wrong, missing or too much, two swapped), at most one for each four letters."""


class NumberConfig(_EntityConfig):
    """A number, in digits or (in English) in words."""

    kind: Literal["number"] = "number"
    words: bool = True
    """Whether `two` and `twenty-five` are numbers."""
    whole: bool = True
    """Whether only whole numbers count."""
    decimal: Literal[".", ","] = "."
    """What stands before decimals; the other one may group thousands."""


class DateConfig(_EntityConfig):
    """A day: `2026-03-02`, `2/3`, and in English `March 2nd`, `tomorrow`, `next friday`, `in 3 days`. As an ISO date."""

    kind: Literal["date"] = "date"
    order: Literal["day_first", "month_first"] = "day_first"
    """How `2/3` is read."""


class TimeConfig(_EntityConfig):
    """A time of day: `19:30`, `7 pm`, `half past 7 in the evening`, `noon`. The value is `HH:MM`."""

    kind: Literal["time"] = "time"


class EmailConfig(_EntityConfig):
    """An e-mail address, in lower case."""

    kind: Literal["email"] = "email"


class TaggedConfig(_EntityConfig):
    """What a trained tagger marks."""

    kind: Literal["tagged"] = "tagged"
    label: str = ""
    """The tagger's word for it (B-..., I-...); the entity's name where it is empty."""


EntityConfig = Annotated[
    PatternConfig | LookupConfig | NumberConfig | DateConfig | TimeConfig | EmailConfig | TaggedConfig,
    Field(discriminator="kind"),
]
