"""Where a document holds an item: a long run of words in common, or a stretch that has nearly all of its words in their order.

    13 words in a row the same                                        -> hit, however long the item
    5 words in a row the same > the longest common subsequence of the item and the words around it >= 80% of the item   -> hit

A word changed every ten words leaves no run of 13 in most items of 60, so the second rule finds them; chance never gets near
80% of eight words in order. Text in other words (a paraphrase, a translation) is not found.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmpipe.data.decontamination.config import DecontaminateConfig
from lmpipe.data.decontamination.index import Index
from lmpipe.data.dedup.shingles import ODD, Integers, Words, shingles_of

LOOKED_UP_WORDS = 1 << 20
SLACK = 4
"""A stretch is longer than the item by a quarter on either side, so that inserted words do not push the rest out of sight."""


class Hit(NamedTuple):
    """An item in a document."""

    document: int
    item: int
    rule: str
    value: float
    """Share of the item's runs, or of its words."""


def find_hits(words: Words, index: Index, config: DecontaminateConfig) -> list[Hit]:
    """Every item that any of some documents holds, in order."""
    hits = {(hit.document, hit.item): hit for hit in _by_runs(words, index, config)}
    for hit in _by_alignment(words, index, config, set(hits)):
        hits[hit.document, hit.item] = hit
    return [hits[key] for key in sorted(hits)]


def _by_runs(words: Words, index: Index, config: DecontaminateConfig) -> list[Hit]:
    hashes, first_D = shingles_of(words, config.ngram)
    position, entry = index.long.find(hashes)
    if not len(position):
        return []
    document = np.searchsorted(first_D, position, side="right") - 1
    found = np.unique(np.stack((document, index.long.item_R[entry], hashes[position].view(np.int64))), axis=1)
    pairs, counts = np.unique(found[:2], axis=1, return_counts=True)
    shares = counts / index.runs_I[pairs[1]]
    enough = shares >= config.min_share
    rows = zip(*pairs[:, enough].tolist(), shares[enough].tolist(), strict=True)
    return [Hit(document, item, "ngram", share) for document, item, share in rows]


def _by_alignment(words: Words, index: Index, config: DecontaminateConfig, known: set[tuple[int, int]]) -> list[Hit]:
    hashes, first_D = shingles_of(words, config.seed)
    position, entry = index.seeds.find(hashes)
    if not len(position):
        return []
    document = np.searchsorted(first_D, position, side="right") - 1
    item = index.seeds.item_R[entry]
    begins = position - first_D[document] - index.seeds.place_R[entry]
    slack = index.words_I[item] // SLACK + 1
    stretches = np.unique(np.stack((document, item, begins // slack)), axis=1)
    stretches = stretches[:, _have_the_words(words, index, stretches, config.similarity)]
    found: dict[tuple[int, int], float] = {}
    for place, number, step in zip(*stretches.tolist(), strict=True):
        if (place, number) not in known and found.get((place, number), 0) < 1:
            share = _aligned(words, place, index, number, step)
            found[place, number] = max(share, found.get((place, number), 0))
    return [Hit(*pair, "similarity", share) for pair, share in found.items() if share >= config.similarity]


def _have_the_words(words: Words, index: Index, stretches: Integers, similarity: float) -> npt.NDArray[np.bool_]:
    """Which documents have so many words of an item at all, in any order: what most that share a phrase with it have not.
    Spares nine in ten alignments where items begin alike (`Write a function to ...`)."""
    in_document = words.hash_W + np.repeat(np.arange(len(words.count_D), dtype=np.uint64) * ODD, words.count_D)
    in_document.sort()
    document, item = stretches[0], stretches[1]
    enough = np.zeros(len(document), bool)
    lengths = index.words_I[item]
    first = 0
    while first < len(document):
        last = first + max(1, int(np.searchsorted(np.cumsum(lengths[first:]), LOOKED_UP_WORDS)))
        count = lengths[first:last]
        starts = np.cumsum(count) - count
        places = np.arange(count.sum()) + np.repeat(index.first_I[item[first:last]] - starts, count)
        wanted = index.hash_W[places] + np.repeat(document[first:last].astype(np.uint64) * ODD, count)
        there = in_document.take(in_document.searchsorted(wanted), mode="clip") == wanted
        enough[first:last] = np.add.reduceat(there, starts, dtype=np.int64) >= similarity * count
        first = last
    return enough


def _aligned(words: Words, document: int, index: Index, item: int, step: int) -> float:
    """Share of the item's words that the stretch has in their order: longest common subsequence, 64 words at a time in the bits
    of a number (Hyyrö 2004)."""
    length = int(index.words_I[item])
    slack = length // SLACK + 1
    start, end = int(words.first_D[document]), int(words.first_D[document + 1])
    stretch = words.hash_W[max(start, start + (step - 1) * slack) : min(end, start + (step + 2) * slack + length)]
    masks, everything = index.masks(item), (1 << length) - 1
    state = everything
    for word in stretch.tolist():
        common = state & masks.get(word, 0)
        state = ((state + common) | (state - common)) & everything
    return (length - state.bit_count()) / length
