"""A tagger's answer (a tag for each word: B-..., I-..., O) as spans of a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from lmpipe.base.errors import ServingError

WORD = re.compile(r"\w+|[^\w\s]")


class Tagger(Protocol):
    """Marks words. What a bundle for tagging will be."""

    def tag(self, words: Sequence[str]) -> Sequence[str]:
        """A tag for each word: `B-name` at a beginning, `I-name` inside, `O` outside."""


def tagged_spans(text: str, tagger: Tagger) -> list[tuple[int, int, str]]:
    """Start, end and name of what the tagger marks, by characters of `text`.

    Raises:
        ServingError: when it gives another number of tags than it was given words.
    """
    words = list(WORD.finditer(text))
    tags = tagger.tag([word[0] for word in words]) if words else []
    if len(tags) != len(words):
        raise ServingError(f"the tagger gave {len(tags)} tags for {len(words)} words", expected="one tag for each word")
    return spans_of(tags, [word.span() for word in words])


def spans_of(tags: Sequence[str], places: Sequence[tuple[int, int]]) -> list[tuple[int, int, str]]:
    """Runs of one name. An I that follows neither B nor I of its name begins a span, as the CoNLL scorer reads it.

    >>> spans_of(["B-city", "I-city", "O", "I-date"], [(0, 3), (4, 8), (9, 11), (12, 18)])
    [(0, 8, 'city'), (12, 18, 'date')]
    """
    spans: list[tuple[int, int, str]] = []
    going = ""
    for tag, (start, end) in zip(tags, places, strict=True):
        place, _, name = tag.partition("-")
        if place == "I" and name == going:
            spans[-1] = (spans[-1][0], end, name)
        elif place in ("B", "I"):
            spans.append((start, end, name))
        going = name if place in ("B", "I") else ""
    return spans
