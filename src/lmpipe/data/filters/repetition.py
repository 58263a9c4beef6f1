"""How much a document repeats itself: the fractions of Gopher (Rae et al. 2021, arXiv 2112.11446, section A.1.1).

    lines, paragraphs     those that stood before, by number and by characters
    top n-grams           characters in all occurrences of the most frequent run of n words, n = 2, 3, 4
    duplicate n-grams     characters of words inside a run of n words that stood before, each counted once, n = 5 ... 10

All by the document's characters (lines and paragraphs also by their number). Words are runs of characters that are not white
space. n-grams are compared by hashes of at least 44 bits in a document of a million words: a false hit changes a score by
some 1e-6. Differs from datatrove in the words (it separates punctuation) and in duplicate n-grams (it skips n words after
each hit, and so may count fewer).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TOP_NGRAMS = (2, 3, 4)
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)
SCORES = (
    "duplicate_line_fraction",
    "duplicate_paragraph_fraction",
    "duplicate_line_character_fraction",
    "duplicate_paragraph_character_fraction",
    *(f"top_{n}_gram_fraction" for n in TOP_NGRAMS),
    *(f"duplicate_{n}_gram_fraction" for n in DUPLICATE_NGRAMS),
)
PARAGRAPH_BREAK = re.compile(r"\n\s*\n")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplication permutes 64-bit numbers

Hashes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]


def repetition_scores(text: str) -> tuple[float, ...]:
    """The fractions of one document, in the order of `SCORES`.

    >>> scores = dict(zip(SCORES, repetition_scores("a line\\na line"), strict=True))
    >>> scores["duplicate_line_fraction"]
    0.5
    """
    characters = max(1, len(text))
    line_count, line_characters = _duplicates([line for line in map(str.strip, text.split("\n")) if line])
    paragraphs = [paragraph.strip() for paragraph in PARAGRAPH_BREAK.split(text)]
    paragraph_count, paragraph_characters = _duplicates([paragraph for paragraph in paragraphs if paragraph])
    return (
        line_count,
        paragraph_count,
        line_characters / characters,
        paragraph_characters / characters,
        *(fraction / characters for fraction in _ngram_characters(text.split())),
    )


def _duplicates(units: Sequence[str]) -> tuple[float, int]:
    """(fraction of the units that stood before, characters in them)."""
    distinct = set(units)
    repeated = sum(map(len, units)) - sum(map(len, distinct))
    return (len(units) - len(distinct)) / max(1, len(units)), repeated


def _ngram_characters(words: Sequence[str]) -> list[float]:
    """Characters in the most frequent n-grams, then in duplicate n-grams.

    A run of n words can only stand twice where its first n-1 words do, so each length looks only at what the one before left
    over.
    """
    first_seen: dict[str, int] = {}
    mixed = _mix(np.fromiter(map(first_seen.setdefault, words, range(len(words))), np.uint64, len(words)))
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    places, hashes = np.arange(len(words)), mixed
    found = []
    for n in range(2, DUPLICATE_NGRAMS[-1] + 1):
        fits = places <= len(words) - n
        places = places[fits]
        hashes = hashes[fits] * MULTIPLIER + mixed[places + n - 1]
        groups = _groups(places, hashes)
        if n in TOP_NGRAMS:
            found.append(_top_characters(groups, lengths, n))
        if n in DUPLICATE_NGRAMS:
            found.append(_covered_characters(groups.repeats(), lengths, n))
        marked = np.zeros(len(words), bool)
        marked[groups.shared()] = True
        shared = marked[places]
        places, hashes = places[shared], hashes[shared]
    return found


def _mix(numbers: Hashes) -> Hashes:
    """Spread small numbers over 64 bits (the finaliser of splitmix64, Steele et al. 2014)."""
    mixed = (numbers + np.uint64(1)) * MULTIPLIER
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@dataclass(frozen=True)
class _Groups:
    """Places sorted by what stands there, equal ones in the order of the text."""

    places: Counts
    repeated: npt.NDArray[np.bool_]
    """Whether the place before holds the same."""

    def repeats(self) -> Counts:
        """Places of what stood before."""
        return self.places[self.repeated]

    def shared(self) -> Counts:
        """Places of everything that stands more than once."""
        return self.places[self.repeated | np.append(self.repeated[1:], False)] if len(self.places) else self.places

    def most_frequent(self) -> tuple[int, int]:
        """(first place, occurrences) of what stands most often; the first in the text of several."""
        starts = np.flatnonzero(~self.repeated)
        counts = np.diff(np.append(starts, len(self.places)))
        most = counts.max()
        return int(self.places[starts[counts == most]].min()), int(most)


def _groups(places: Counts, hashes: Hashes) -> _Groups:
    """Sorts once: the upper bits of a key are the hash, the lower ones the place, so equal hashes keep the order of the
    text."""
    bits = np.uint64(max(1, int(places[-1]).bit_length() if len(places) else 1))
    keys = np.sort((hashes >> bits << bits) | places.astype(np.uint64))
    ordered = (keys & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    repeated = np.zeros(len(keys), bool)
    repeated[1:] = keys[1:] >> bits == keys[:-1] >> bits
    return _Groups(ordered, repeated)


def _top_characters(groups: _Groups, lengths: Counts, n: int) -> float:
    """Characters, single spaces counted, in all occurrences of the most frequent n-gram; 0 where none stands twice."""
    if not groups.repeated.any():
        return 0.0
    place, occurrences = groups.most_frequent()
    return float(occurrences * (lengths[place : place + n].sum() + n - 1))


def _covered_characters(repeats: Counts, lengths: Counts, n: int) -> float:
    """Characters of the words that lie in an n-gram which stood before, each word once."""
    if not len(repeats):
        return 0.0
    change = np.zeros(len(lengths) + 1, np.int64)
    change[repeats] += 1  # a place stands here once, so plain indexing adds
    change[repeats + n] -= 1
    return float(lengths[np.cumsum(change[:-1]) > 0].sum())
