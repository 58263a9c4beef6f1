"""Some documents at once, taken apart once for all filters: lines, stretches between white space, words.

    texts        "It's 5 km.\nFine."   "No."
    lines         0            1        2             `line_of_word`
    stretches     It's 5 km.   Fine.    No.           each distinct one is taken apart once (`cutting.py`)
    words         It 's 5 km . Fine .   No .          `words`: numbers; `text_of_word`, `word_borders`: where each text begins

Everything that holds one value per word is a numpy array, so that filters count by whole batches. Words are numbered within a
batch. A vocabulary outlives batches (it makes the next one faster) and starts anew when it has grown too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.data.filters.cutting import Cut, Vocabulary, cut

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

MAX_KNOWN = 80_000
"""Words of which a flag is remembered."""


class WordFlags(dict[str, bool]):
    """A yes or no for words, asked once per word."""

    def __init__(self, holds: Any) -> None:
        self.holds = holds

    def __missing__(self, word: str) -> bool:
        flag = self[word] = bool(self.holds(word))
        return flag

    def of(self, batch: Batch) -> Flags:
        """The flag of every word of a batch."""
        if len(self) > MAX_KNOWN:
            self.clear()
        return np.fromiter(map(self.__getitem__, batch.spelled), np.bool_, len(batch.spelled))[batch.words]


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
    def stretches(self) -> tuple[Any, Ints]:
        """(the stretches of all texts in order: dictionary-encoded by Arrow; how many stand in each line of all texts)."""
        stripped = [line.strip() for lines in self.lines for line in lines]
        filled = np.fromiter(map(bool, stripped), bool, len(stripped))
        # Arrow splits at the same characters as Python, makes no object for each stretch, and finds the distinct ones
        split = pc.utf8_split_whitespace(pa.array([line for line in stripped if line], pa.large_string()))
        counts = np.zeros(len(stripped), np.int64)
        counts[filled] = pc.list_value_length(split).to_numpy()
        return split.flatten().dictionary_encode(), counts

    @cached_property
    def stretch_counts(self) -> Ints:
        """Stretches in each text."""
        return segment_sums(self.stretches[1], self.line_borders)

    @cached_property
    def line_borders(self) -> Ints:
        """Where the lines of each text begin among those of all, and where the last ends; shape (texts + 1,)."""
        return borders([len(lines) for lines in self.lines])

    @cached_property
    def _cut(self) -> Cut:
        return cut(self.stretches[0].dictionary, self.vocabulary)

    @cached_property
    def _expanded(self) -> tuple[Ints, Ints]:
        """(words of all texts, where each stretch's words begin and the last one's end)."""
        numbers = self.stretches[0].indices.to_numpy()
        first = borders(self._cut.counts)
        counts = self._cut.counts[numbers]
        begin = borders(counts)
        places = np.repeat(first[:-1][numbers] - begin[:-1], counts)
        places += np.arange(begin[-1])
        return self._cut.words[places], begin

    @cached_property
    def spelled(self) -> list[str]:
        """The distinct words by number."""
        return self._cut.distinct.to_pylist()  # type: ignore[no-any-return]

    def numbers_of(self, words: Sequence[str]) -> Ints:
        """The numbers of words, -1 for those that this batch does not have."""
        found = pc.index_in(pa.array(words, pa.large_string()), self._cut.distinct)
        return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)

    @property
    def words(self) -> Ints:
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
        return np.asarray(pc.utf8_length(self._cut.distinct).to_numpy(), np.int64)[self.words]


def borders(counts: Sequence[int] | Ints) -> Ints:
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
