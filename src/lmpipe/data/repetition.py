"""How much a document repeats itself: the fractions of Gopher (Rae et al. 2021, arXiv 2112.11446, section A.1.1).

    lines, paragraphs     those that stood before, by number and by characters
    top n-grams           characters in all occurrences of the most frequent run of n words, n = 2, 3, 4
    duplicate n-grams     characters of words inside a run of n words that stood before, each counted once, n = 5 ... 10

All by the document's characters (lines and paragraphs also by their number). Words are runs of characters that are not white
space. n-grams are compared by 64-bit hashes: two different ones of a document of a million words meet with a chance below 1e-7.
Differs from datatrove in the words (it separates punctuation) and in duplicate n-grams (it skips n words after each hit, and so
may count fewer).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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
    """Characters in the most frequent n-grams, then in duplicate n-grams."""
    number_of: dict[str, int] = {}
    numbers = np.fromiter((number_of.setdefault(word, len(number_of)) for word in words), np.uint64, len(words))
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    mixed = _mix(numbers)
    hashes, found = mixed, []
    for n in range(2, DUPLICATE_NGRAMS[-1] + 1):
        hashes = _extend(hashes, mixed, n)
        found.append(_top_characters(hashes, lengths, n) if n in TOP_NGRAMS else _duplicate_characters(hashes, lengths, n))
    return found


def _mix(numbers: Hashes) -> Hashes:
    """Spread small numbers over 64 bits (the finaliser of splitmix64, Steele et al. 2014)."""
    mixed = (numbers + np.uint64(1)) * MULTIPLIER
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _extend(shorter: Hashes, mixed: Hashes, n: int) -> Hashes:
    """Hashes of n-grams from those of (n-1)-grams: a polynomial over the words, modulo 2^64."""
    count = max(0, len(mixed) - n + 1)
    return shorter[:count] * MULTIPLIER + mixed[n - 1 : n - 1 + count]


def _top_characters(hashes: Hashes, lengths: Counts, n: int) -> float:
    """Characters, single spaces counted, in all occurrences of the most frequent n-gram; 0 where none stands twice. Of several
    that are equally frequent, the first counts."""
    if len(hashes) < 2:
        return 0.0
    _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
    most = counts.max()
    if most < 2:
        return 0.0
    start = first[counts == most].min()
    return float(most * (lengths[start : start + n].sum() + n - 1))


def _duplicate_characters(hashes: Hashes, lengths: Counts, n: int) -> float:
    """Characters of the words that lie in an n-gram which stood before."""
    if len(hashes) < 2:
        return 0.0
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    repeats = order[1:][ordered[1:] == ordered[:-1]]
    if not len(repeats):
        return 0.0
    borders = np.zeros(len(lengths) + 1, np.int64)
    borders[repeats] += 1  # each start stands here once, so plain indexing adds
    np.subtract.at(borders, repeats + n, 1)
    return float(lengths[np.cumsum(borders[:-1]) > 0].sum())
