"""Text with slots: `"Write a {tone} question about {topic}."`. One spelling for augmentation, prompts, synthesis and chatbots.

A slot is a name in braces: letters, digits, `_` and `.`; `{{` and `}}` are braces themselves. Nothing else of Python's format
language is known: no attributes, no indices, no conversions, so that a template can reach nothing but the values given to it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from functools import lru_cache

TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_-]+)*")


@lru_cache(maxsize=256)
def parse(template: str) -> tuple[tuple[str, str], ...]:
    """(text before, slot) pairs; the last has no slot.

    >>> parse("a {b} {{c}}")
    (('a ', 'b'), (' {c}', ''))

    Raises:
        ValueError: for a brace that stands alone, or something in braces that is no name.
    """
    parts: list[tuple[str, str]] = []
    text, end = "", 0
    for found in TOKEN.finditer(template):
        text += template[end : found.start()]
        end = found.end()
        if found[0] in ("{{", "}}"):
            text += found[0][0]
        elif found[1] is None:
            raise ValueError(f"a '{found[0]}' stands alone at character {found.start()}; a brace itself is written twice")
        elif not NAME.fullmatch(found[1]):
            raise ValueError(f"'{found[0]}' is no slot; expected a name in braces such as {{text}}")
        else:
            parts.append((text, found[1]))
            text = ""
    return (*parts, (text + template[end:], ""))


def slots_of(template: str) -> list[str]:
    """The names of the slots, in order, each once.

    Raises:
        ValueError: as `parse`.
    """
    return list(dict.fromkeys(slot for _, slot in parse(template) if slot))


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with values in its slots. What stands in a value is never read as a slot.

    >>> fill("{a} and {b}", {"a": "{b}", "b": "x"})
    '{b} and x'
    """
    return "".join(text + (values[slot] if slot else "") for text, slot in parse(template))


def check_slots(template: str, known: Collection[str], *, open_prefix: str = "") -> None:
    """Refuse slots that nothing fills.

    Args:
        template: with slots.
        known: names that have a value.
        open_prefix: names that begin with it may have one; only the data can say.

    Raises:
        ValueError: naming the slot, the nearest known name and all known names.
    """
    for slot in slots_of(template):
        if slot in known or (open_prefix and slot.startswith(open_prefix)):
            continue
        close = difflib.get_close_matches(slot, list(known), n=1, cutoff=0.5)
        nearest = f" (did you mean '{{{close[0]}}}'?)" if close else ""
        names = ", ".join([*known, *([open_prefix + "<key>"] if open_prefix else [])])
        raise ValueError(f"slots that have a value; nothing fills the slot '{{{slot}}}'{nearest}; known: {names}")
