"""Some documents at once, taken apart once for all filters: lines, stretches between white space, words.

    texts        "It's 5 km.\nFine."   "No."
    lines         0            1        2             `line_of_word`
    stretches     It's 5 km.   Fine.    No.           numbered by the vocabulary, which takes each distinct one apart once
    words         It 's 5 km . Fine .   No .          `words`: numbers; `text_of_word`, `word_borders`: where each text begins

Everything that holds one value per word is a numpy array, so that filters count by whole batches. A vocabulary outlives batches
(it is what makes the next one fast) and starts anew when it has grown too large; no result depends on its numbers.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.data.filters.words import words_of

Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

MAX_STRETCHES = 80_000
"""About 20 MB. 50 MB of mixed text have 340,000 distinct stretches; starting anew on the way costs nothing to speak of."""


class Vocabulary:
    """Numbers for distinct stretches and words, and what is known of each word."""

    def __init__(self) -> None:
        first = array("i", [0])  # the words of stretch i are parts[first[i] : first[i + 1]]
        parts, lengths = array("i"), array("i")
        spelled: list[str] = []

        def add_word(word: str) -> None:
            spelled.append(word)
            lengths.append(len(word))

        words: dict[str, int] = _Numbering(add_word)

        def add_stretch(stretch: str) -> None:
            parts.extend(map(words.__getitem__, words_of(stretch)))
            first.append(len(parts))

        # Neither function knows this object: a circle would keep it in memory after its successor has taken over.
        self._stretches: dict[str, int] = _Numbering(add_stretch)
        self._words, self._spelled = words, spelled
        self._first, self._parts, self._lengths = first, parts, lengths

    def number(self, stretches: Sequence[str]) -> Numbers:
        """The number of each stretch; unknown ones are taken apart."""
        return np.fromiter(map(self._stretches.__getitem__, stretches), np.int32, len(stretches))

    def number_of_word(self, word: str) -> int:
        """The number of a word."""
        return self._words[word]

    def is_full(self) -> bool:
        """Whether a new vocabulary should take over before the next batch."""
        return len(self._stretches) > MAX_STRETCHES

    @property
    def first(self) -> Numbers:
        """Where the words of each stretch begin in `parts`, and where the last one ends."""
        return np.array(self._first, np.int32)

    @property
    def parts(self) -> Numbers:
        """The words of all stretches."""
        return np.array(self._parts, np.int32)

    @property
    def lengths(self) -> Ints:
        """Characters of each word."""
        return np.array(self._lengths, np.int64)

    def spelled(self, start: int = 0) -> list[str]:
        """The words themselves, from a number on."""
        return self._spelled[start:]


class _Numbering(dict[str, int]):
    """Numbers keys in the order in which they are first asked for."""

    def __init__(self, added: Any) -> None:
        self.added = added

    def __missing__(self, key: str) -> int:
        number = self[key] = len(self)
        self.added(key)
        return number


class WordFlags:
    """A yes or no for each word of a vocabulary, asked once per word."""

    def __init__(self, holds: Any) -> None:
        self.holds = holds
        self._flags = bytearray()
        self._vocabulary: Vocabulary | None = None

    def of(self, batch: Batch) -> Flags:
        """The flag of every word of a batch."""
        words, vocabulary = batch.words, batch.vocabulary
        if vocabulary is not self._vocabulary:
            self._vocabulary, self._flags = vocabulary, bytearray()
        self._flags.extend(map(self.holds, vocabulary.spelled(len(self._flags))))
        return np.array(self._flags, np.uint8).view(np.bool_)[words]


class Batch:
    """Texts, and what filters need to know of them, each computed when it is first asked for."""

    def __init__(
        self,
        texts: Sequence[str],
        sources: Sequence[str] = (),
        metas: Sequence[str] = (),
        *,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        self.texts = texts
        self.vocabulary = vocabulary or Vocabulary()
        self.sources, self.metas = sources, metas

    @cached_property
    def characters(self) -> Ints:
        """Characters of each text."""
        return np.fromiter(map(len, self.texts), np.int64, len(self.texts))

    @cached_property
    def lines(self) -> list[list[str]]:
        """The lines of each text, split where Python's `splitlines` splits, line ends cut off."""
        return [text.splitlines() for text in self.texts]

    @cached_property
    def stretches(self) -> tuple[Numbers, Ints]:
        """(the stretches of all texts in order, how many stand in each line of all texts)."""
        stripped = [line.strip() for lines in self.lines for line in lines]
        filled = np.fromiter(map(bool, stripped), bool, len(stripped))
        # Arrow splits at the same characters as Python, makes no object for each stretch, and finds the distinct ones
        split = pc.utf8_split_whitespace(pa.array([line for line in stripped if line], pa.large_string()))
        encoded = split.flatten().dictionary_encode()
        counts = np.zeros(len(stripped), np.int64)
        counts[filled] = pc.list_value_length(split).to_numpy()
        return self.vocabulary.number(encoded.dictionary.to_pylist())[encoded.indices.to_numpy()], counts

    @cached_property
    def stretch_counts(self) -> Ints:
        """Stretches in each text."""
        return segment_sums(self.stretches[1], self.line_borders)

    @cached_property
    def line_borders(self) -> Ints:
        """Where the lines of each text begin among those of all, and where the last ends; shape (texts + 1,)."""
        return borders([len(lines) for lines in self.lines])

    @cached_property
    def _expanded(self) -> tuple[Numbers, Ints]:
        """(words of all texts, where each stretch's words begin and the last one's end)."""
        numbers, _ = self.stretches
        first = self.vocabulary.first
        counts = np.diff(first)[numbers]
        begin = borders(counts)
        parts = self.vocabulary.parts
        if len(parts) == len(first) - 1:  # every stretch is one word
            return parts[numbers], begin
        places = np.repeat(first[:-1][numbers].astype(np.int64) - begin[:-1], counts)
        places += np.arange(begin[-1])
        return parts[places], begin

    @property
    def words(self) -> Numbers:
        """The numbers of the words of all texts, in order."""
        return self._expanded[0]

    @cached_property
    def line_word_borders(self) -> Ints:
        """Where the words of each line begin, and where the last one's end; shape (lines + 1,)."""
        return self._expanded[1][borders(self.stretches[1])]

    @cached_property
    def word_borders(self) -> Ints:
        """Where the words of each text begin, and where the last one's end; shape (texts + 1,)."""
        return self.line_word_borders[self.line_borders]

    @cached_property
    def word_counts(self) -> Ints:
        """Words in each text."""
        return np.diff(self.word_borders)

    @cached_property
    def word_lengths(self) -> Ints:
        """Characters of each word of all texts."""
        return self.vocabulary.lengths[self.words]


def borders(counts: Sequence[int] | Ints | Numbers) -> Ints:
    """[2, 0, 3] -> [0, 2, 2, 5]."""
    return np.concatenate([[0], np.cumsum(np.asarray(counts, np.int64))]).astype(np.int64)


def segment_sums(values: npt.NDArray[Any], ends: Ints) -> Ints:
    """Sums between borders; whole numbers, so exact. Empty segments give 0."""
    total = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return np.asarray(np.diff(total[ends]), np.int64)


def ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Floats:
    """part / whole, 0 where there is no whole."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.asarray(np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0))
