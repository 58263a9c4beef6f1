"""How much a document repeats itself: the fractions of Gopher (Rae et al. 2021, arXiv 2112.11446, section A.1.1).

    lines, paragraphs     those that stood before, by number and by characters
    top n-grams           characters in all occurrences of the most frequent run of n words, n = 2, 3, 4; the first of several
    duplicate n-grams     characters of runs of n words that stood before, n = 5 ... 10, from left to right: after one was found
                          the search goes on behind it

All by the document's characters (lines and paragraphs also by their number), as datatrove's `GopherRepetitionFilter` counts
them, but for one thing: a run of words that stands once is no repetition, while datatrove takes the first one of a document in
which nothing stands twice, and so drops most texts of fewer than some 15 words.

A run of n words can stand twice only where its first n-1 words do. So one sort per n finds all groups of equal runs of a whole
batch, exactly (a run is its group at n-1 and one more word; no hashing), among ever fewer places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmpipe.data.filters.batch import Batch, Floats, Ints, borders, ratio

TOP_NGRAMS = (2, 3, 4)
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)


def repetition_scores(batch: Batch) -> list[Any]:
    """Columns in the order of `GopherRepetitionScores.columns`."""
    rows = [(*_lines(text), *_paragraphs(text)) for text in batch.texts]
    line_fraction, line_characters, paragraph_fraction, paragraph_characters = np.array(rows, np.float64).reshape(-1, 4).T
    return [
        line_fraction,
        paragraph_fraction,
        ratio(line_characters, batch.characters),
        ratio(paragraph_characters, batch.characters),
        *(ratio(characters, batch.characters) for characters in _ngram_characters(batch)),
    ]


def _lines(text: str) -> tuple[float, int]:
    """(fraction of the lines that stood before, characters in them); empty lines count only at the very ends."""
    lines = [line for line in text.split("\n") if line]
    ends = text.startswith("\n") + text.endswith("\n")
    distinct = set(lines)
    repeated = len(lines) - len(distinct) + (ends == 2)
    return repeated / max(1, len(lines) + ends), _repeated_characters(lines, distinct)


def _paragraphs(text: str) -> tuple[float, int]:
    if "\n\n" not in text:
        return 0.0, 0
    # what splitting at two or more line feeds gives, without a regular expression, which looks at every character
    paragraphs = [part.lstrip("\n") for part in text.strip().split("\n\n") if part and part != "\n"] or [""]
    distinct = set(paragraphs)
    return (len(paragraphs) - len(distinct)) / len(paragraphs), _repeated_characters(paragraphs, distinct)


def _repeated_characters(units: Sequence[str], distinct: set[str]) -> int:
    return sum(map(len, units)) - sum(map(len, distinct)) if len(distinct) < len(units) else 0


def _ngram_characters(batch: Batch) -> Iterator[Floats | Ints]:
    """Characters in the most frequent n-grams, then in duplicate n-grams, of every text."""
    ends = batch.word_borders
    length_before = borders(batch.word_lengths)
    for n, runs in repeated_runs(batch.words, ends, DUPLICATE_NGRAMS[-1]):
        if n in TOP_NGRAMS:
            yield _top_characters(runs, length_before, ends, n)
        else:
            places = np.array(_covered(runs, n), np.int64)
            text = np.searchsorted(ends, places, side="right") - 1
            yield np.bincount(text, length_before[places + n] - length_before[places], len(ends) - 1)


@dataclass(frozen=True)
class Runs:
    """Places where a run of n words begins that stands more than once in its text, in the order of the text."""

    places: Ints
    group: Ints
    """Equal runs of one text have one number."""
    first: Ints
    """By group: where it stands first."""
    count: Ints
    """By group: how often it stands there."""


def repeated_runs(words: Any, ends: Ints, longest: int) -> Iterator[tuple[int, Runs]]:
    """The repeated runs of 2, 3, ..., `longest` words.

    Args:
        words: numbers of the words of all texts.
        ends: where the words of each text begin, and where the last one's end.
    """
    size = int(words.max()) + 1 if len(words) else 1
    known = np.zeros(size, bool)
    known[words] = True
    words = (np.cumsum(known) - 1)[words]  # small numbers, so that a key leaves room for a place
    distinct = int(known.sum())
    last = np.repeat(ends[1:], np.diff(ends))
    places, group = np.arange(len(words)), words
    for n in range(2, longest + 1):
        fits = places + n <= last[places]
        places = places[fits]
        runs = _grouped(places, group[fits] * distinct + words[places + n - 1], last)
        yield n, runs
        places, group = runs.places, runs.group


def _grouped(places: Ints, keys: Ints, last: Ints) -> Runs:
    """Groups of at least two places of one text with equal keys."""
    order, keys = in_order(keys)
    ordered = places[order]
    begins = np.ones(len(keys), bool)
    begins[1:] = (keys[1:] != keys[:-1]) | (last[ordered[1:]] != last[ordered[:-1]])
    starts = np.flatnonzero(begins)
    counts = np.diff(np.append(starts, len(keys)))
    several = counts > 1
    number = np.where(several, np.cumsum(several) - 1, -1)
    group = np.empty(len(keys), np.int64)
    group[order] = np.repeat(number, counts)
    stays = group >= 0
    return Runs(places[stays], group[stays], ordered[starts[several]], counts[several])


def in_order(keys: Ints) -> tuple[Ints, Ints]:
    """(order, sorted keys), equal keys in their order: by one sort of key and place in one number where both fit."""
    bits = len(keys).bit_length()
    if len(keys) and int(keys.max()).bit_length() + bits <= 63:
        both = np.sort(keys << bits | np.arange(len(keys)))
        return both & ((1 << bits) - 1), both >> bits
    order = np.argsort(keys, kind="stable")
    return order, keys[order]


def _top_characters(runs: Runs, length_before: Ints, ends: Ints, n: int) -> Ints:
    """Characters, single spaces counted, in all occurrences of each text's most frequent run; 0 where none stands twice."""
    text = np.searchsorted(ends, runs.first, side="right") - 1
    order = np.lexsort((runs.first, -runs.count, text))
    text, first, count = text[order], runs.first[order], runs.count[order]
    best = np.ones(len(text), bool)
    best[1:] = text[1:] != text[:-1]
    found = np.zeros(len(ends) - 1, np.int64)
    first, count = first[best], count[best]
    found[text[best]] = count * (length_before[first + n] - length_before[first] + n - 1)
    return found


def _covered(runs: Runs, n: int) -> list[int]:
    """Where runs stand that stood before, none inside another. Only repeated runs can be found, so only they are walked."""
    seen = bytearray(len(runs.count))
    found: list[int] = []
    free = 0
    for place, group in zip(runs.places.tolist(), runs.group.tolist(), strict=True):
        if place >= free:
            if seen[group]:
                found.append(place)
                free = place + n
            seen[group] = 1
    return found
