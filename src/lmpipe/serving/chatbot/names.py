"""How things in a chatbot may be called, and what to say where a name is not known."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from pydantic import StringConstraints

from lmpipe.base.nearest import did_you_mean

CHATBOT = "chatbot"
"""The folder of a bundle that holds its chatbot."""
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""Of slots, entities, forms, responses: a name that can stand in a text as `{name}`."""
Label = Annotated[str, StringConstraints(pattern=r"^\S([^\n]{0,98}\S)?$")]
"""Of intents: as the data spell them, `Refund_not_showing_up` included."""
Text = Annotated[str, StringConstraints(min_length=1, max_length=4000)]
Value = str | int | float | bool
"""What a slot holds. Dates and times are text: `2026-03-02`, `19:30`."""


def check_known(what: str, name: str, known: Collection[str], where: str) -> None:
    """Refuse a name that is not there.

    Raises:
        ValueError: naming the place, the nearest known name and all known names.
    """
    if name in known:
        return
    meant = did_you_mean(name, known)
    raise ValueError(f"{where} speaks of the {what} '{name}', which is not there{meant}; known: {', '.join(known) or 'none'}")


def check_unique(what: str, names: Collection[str]) -> None:
    """Refuse a name that stands twice among some things.

    Raises:
        ValueError: naming it.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"two {what} are called '{name}'; expected each name once")
        seen.add(name)
