"""The quality rules of Gopher (Rae et al. 2021, arXiv 2112.11446, section A.1.1), as datatrove's `GopherQualityFilter` counts
them.

`words` counts those that are not punctuation only; hash signs, ellipses and words with a letter are counted by all words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lmpipe.data.filters.batch import Batch, Ints, WordFlags, ratio, segment_sums
from lmpipe.data.filters.punctuation import SYMBOLS

BULLETS = ("•", "-")
ELLIPSES = ("...", "…")


class GopherQuality:
    """Computes the scores of batches."""

    def __init__(self, stop_words: Sequence[str]) -> None:
        self.stop_words = tuple(dict.fromkeys(stop_words))
        self._symbolic = WordFlags(SYMBOLS.issuperset)
        self._lettered = WordFlags(lambda word: word.isalpha() or any(map(str.isalpha, word)))

    def __call__(self, batch: Batch) -> list[Any]:
        """Columns in the order of `GopherQualityScores.columns`."""
        ends, count = batch.word_borders, batch.word_counts
        proper = ~self._symbolic.of(batch)
        proper_count = segment_sums(proper, ends)
        characters = segment_sums(np.where(proper, batch.word_lengths, 0), ends)
        lettered = segment_sums(self._lettered.of(batch), ends)
        line_count = np.diff(batch.line_borders)
        return [
            proper_count,
            ratio(characters, proper_count),
            ratio(_counts(batch, "#"), count),
            ratio(_counts(batch, *ELLIPSES), count),
            ratio(_marked_lines(batch, BULLETS, _starts), line_count),
            ratio(_marked_lines(batch, ELLIPSES, _ends), line_count),
            ratio(lettered, count),
            self._distinct_stop_words(batch),
        ]

    def _distinct_stop_words(self, batch: Batch) -> Ints:
        numbers = batch.numbers_of(self.stop_words)
        which = np.full(len(batch.spelled) + 1, -1)  # one more for stop words that this batch does not have
        which[numbers] = np.arange(len(numbers))
        which[-1] = -1
        found = which[batch.words]
        places = np.flatnonzero(found >= 0)
        text = np.searchsorted(batch.word_borders, places, side="right") - 1
        seen = np.zeros((len(batch.texts), max(len(numbers), 1)), bool)
        seen[text, found[places]] = True
        return np.asarray(seen.sum(axis=1), np.int64)


def _counts(batch: Batch, *marks: str) -> Ints:
    return np.array([sum(map(text.count, marks)) for text in batch.texts], np.int64)


def _marked_lines(batch: Batch, marks: tuple[str, ...], test: Any) -> Ints:
    """How many lines of each text begin or end with one of the marks; most texts hold none at all."""
    return np.array(
        [
            sum(test(line, marks) for line in lines) if any(mark in text for mark in marks) else 0
            for text, lines in zip(batch.texts, batch.lines, strict=True)
        ],
        np.int64,
    )


def _starts(line: str, marks: tuple[str, ...]) -> bool:
    return line.lstrip().startswith(marks)


def _ends(line: str, marks: tuple[str, ...]) -> bool:
    return line.rstrip().endswith(marks)
