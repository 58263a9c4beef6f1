"""Words of a list in a text, with typing errors forgiven.

A spelling and a stretch of text are within k errors of each other only if some characters can be taken from both, at most k
from each, so that the same is left. So every spelling is filed under all that can be left of it; a stretch of text finds its
candidates by a few look-ups, however long the list, and the distance is then computed for these alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

WORD = re.compile(r"\w+(?:['’]\w+)*")
LETTERS_PER_EDIT = 4
LONGEST = 64
"""Letters of a spelling that is still compared with errors; longer ones must be exact."""


class Lookup:
    """Finds the values of a list.

    Args:
        values: each value and its other spellings.
        max_edits: typing errors that are forgiven, at most one for each four letters.
    """

    def __init__(self, values: Mapping[str, Sequence[str]], max_edits: int) -> None:
        self.max_edits = max_edits
        self._exact: dict[str, str] = {}
        self._left: dict[str, list[str]] = {}
        for value, spellings in values.items():
            for spelling in (value, value.replace("_", " "), *spellings):
                if normal := _normal(spelling):
                    self._exact.setdefault(normal, value)
        for normal in self._exact:
            for rest in _rests(normal, self._allowed(normal)):
                self._left.setdefault(rest, []).append(normal)
        self._most_words = max((normal.count(" ") + 1 for normal in self._exact), default=0)

    def find(self, text: str) -> Iterator[tuple[int, int, str, int]]:
        """Start, end, value and forgiven errors of every stretch of whole words that is in the list; they may overlap."""
        words = list(WORD.finditer(text))
        for first in range(len(words)):
            for last in range(first, min(first + self._most_words, len(words))):
                found = self.match(text[words[first].start() : words[last].end()])
                if found is not None:
                    yield words[first].start(), words[last].end(), *found

    def match(self, text: str) -> tuple[str, int] | None:
        """The value whose spelling is nearest to the whole text, and the errors between them; of equals the first listed."""
        normal = _normal(text)
        if normal in self._exact:
            return self._exact[normal], 0
        allowed = self._allowed(normal)
        candidates = {near for rest in _rests(normal, allowed) for near in self._left.get(rest, ())}
        order = {near: place for place, near in enumerate(self._exact)} if len(candidates) > 1 else {}
        best: tuple[int, int, str] | None = None
        for near in candidates:
            errors = edits(normal, near)
            if errors <= min(allowed, self._allowed(near)):
                best = min(best or (errors, order.get(near, 0), near), (errors, order.get(near, 0), near))
        return None if best is None else (self._exact[best[2]], best[0])

    def _allowed(self, normal: str) -> int:
        return min(self.max_edits, len(normal) // LETTERS_PER_EDIT) if len(normal) <= LONGEST else 0


def edits(one: str, other: str) -> int:
    """Letters changed, added or taken away, or neighbours swapped, between two words (optimal string alignment).

    >>> edits("lodnon", "london"), edits("", "ab")
    (1, 2)
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, with_ in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != with_))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == with_:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]


def _normal(text: str) -> str:
    return " ".join(word[0].casefold().replace("’", "'") for word in WORD.finditer(text))


def _rests(word: str, most: int) -> set[str]:
    """What is left of a word when up to `most` letters are taken away."""
    found = {word}
    for count in range(1, most + 1):
        for places in combinations(range(len(word)), count):
            taken = set(places)
            found.add("".join(letter for place, letter in enumerate(word) if place not in taken))
    return found
