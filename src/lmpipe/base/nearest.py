"""The known name that a wrong one was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The most similar known name, letter case apart; None where none is similar enough.

    Args:
        word: what was written.
        known: names.
        cutoff: least similarity, from 0 to 1 (Ratcliff and Obershelp, as difflib computes it).

    >>> nearest("color", ["text", "Colour"])
    'Colour'
    """
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=cutoff)
    return names[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """The same for the end of a message: ` (did you mean 'Colour'?)`, or nothing."""
    name = nearest(word, known, cutoff)
    return f" (did you mean '{name}'?)" if name else ""
