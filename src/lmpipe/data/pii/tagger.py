"""Names and addresses by a tagger: an averaged structured perceptron over hashed features of words, without dependencies.

    text -> tokens -> features (words, shapes, beginnings and ends of five neighbours, hashed) -> scores -> best path of tags

The method is that of Collins 2002, "Discriminative Training Methods for Hidden Markov Models" (EMNLP), with tags B, I and O
for each kind and first-order transitions. Trained weights are whole numbers and so are all sums, so equal text gets equal tags
on any machine. It knows what its training texts showed it and nothing of the world: names unlike those it saw are missed.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmpipe.base.files import read_json
from lmpipe.data.pii.config import NameKind

TOKEN = re.compile(r"\w+|[^\w\s]|\n")
BUCKETS = 1 << 18
"""Of the hashed features: 5 MB of weights for two kinds."""
LONGEST_SEQUENCE = 256
"""Tokens tagged together; a longer text is cut at a line's end where there is one."""
TOKENS_AT_ONCE = 1 << 15
"""Tokens whose features are held at a time: 3 MB."""
PADDING = 2
FORMS = 6
SLOTS: tuple[tuple[int, int], ...] = (
    (0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (-1, 0), (-1, 1), (-1, 3), (-1, 5), (-2, 0), (-2, 1),
    (1, 0), (1, 1), (1, 5), (2, 0), (2, 1),
)  # fmt: skip
"""(neighbour, form): which form of which neighbour is a feature."""
PAIRS: tuple[tuple[tuple[int, int], tuple[int, int]], ...] = (
    ((-1, 0), (0, 0)), ((-1, 1), (0, 1)), ((0, 1), (1, 1)), ((-1, 0), (0, 1)), ((0, 1), (1, 0)),
    ((-2, 1), (-1, 1)), ((-1, 1), (1, 1)),
)  # fmt: skip
NEVER = -(1 << 29)
"""Score of a transition that must not be; two of them still fit into 32 bits."""
WEIGHTS, TRANSITIONS, FACTS = "weights.npy", "transitions.npy", "tagger.json"
Ints = npt.NDArray[np.integer[Any]]
Hashes = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Tokens:
    """The tokens of several texts, one after the other, in sequences."""

    spans: list[tuple[int, int, int]]
    """(text, start, end) of each token."""
    words: list[str]
    borders: list[int]
    """Where sequences begin, and the number of tokens."""


def tokens_of(texts: Sequence[str]) -> Tokens:
    """All tokens. A sequence ends with its text, at an empty line, and at the first line's end past its greatest length."""
    spans: list[tuple[int, int, int]] = []
    words: list[str] = []
    borders = [0]
    for number, text in enumerate(texts):
        for match in TOKEN.finditer(text):
            word = match[0]
            length = len(words) - borders[-1]
            if length and (
                (word == "\n" and words[-1] == "\n")
                or (words[-1] == "\n" and length >= LONGEST_SEQUENCE // 2)
                or length >= LONGEST_SEQUENCE
            ):
                borders.append(len(words))
            words.append(word)
            spans.append((number, match.start(), match.end()))
        if len(words) > borders[-1]:
            borders.append(len(words))
    return Tokens(spans, words, borders)


@lru_cache(maxsize=1 << 17)
def _forms(word: str) -> tuple[int, ...]:
    """Hashes of a word's forms: lower case, shape, short shape, beginning, end, class."""
    lower = word.lower()
    shape = re.sub(r"[^\W\d_]", lambda m: "X" if m[0].isupper() else "x", re.sub(r"\d", "9", word))
    short = re.sub(r"(.)\1+", r"\1", shape)
    kind = "n" if word.isdigit() else "T" if word.istitle() else "U" if word.isupper() else "l" if word.islower() else word
    return tuple(zlib.crc32(form.encode("utf-8", "replace")) for form in (lower, short, shape, lower[:3], lower[-3:], kind))


def features_of(words: Sequence[str], borders: Sequence[int]) -> Ints:
    """(tokens, features): which weights each token adds up. Neighbours beyond a sequence's end are a form of their own."""
    forms = np.zeros((len(words) + 2 * PADDING * len(borders), FORMS), np.uint32)
    places = np.empty(len(words), np.int64)
    place = PADDING
    for start, end in pairwise(borders):
        forms[place : place + end - start] = [_forms(word) for word in words[start:end]]
        places[start:end] = np.arange(place, place + end - start)
        place += end - start + 2 * PADDING
    columns = [_mixed(forms[places + near, form], number) for number, (near, form) in enumerate(SLOTS)]
    for number, ((near, form), (far, other)) in enumerate(PAIRS, start=len(SLOTS)):
        pair = forms[places + near, form] * np.uint32(0x9E3779B1) ^ forms[places + far, other]
        columns.append(_mixed(pair, number))
    return np.stack(columns, axis=1)


def _mixed(hashes: Hashes, salt: int) -> Ints:
    """Bucket of a hash in one feature's own order: a finaliser of MurmurHash3 over hash and salt."""
    mixed = hashes ^ np.uint32((salt + 1) * 0x85EBCA6B & 0xFFFFFFFF)
    mixed = (mixed ^ (mixed >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    mixed = (mixed ^ (mixed >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return ((mixed ^ (mixed >> np.uint32(16))) % np.uint32(BUCKETS)).astype(np.int64)


def tags_of(kinds: Sequence[NameKind]) -> list[str]:
    """O, then B and I of each kind."""
    return ["O", *(f"{place}-{kind}" for kind in kinds for place in "BI")]


def allowed_transitions(kinds: Sequence[NameKind]) -> npt.NDArray[np.bool_]:
    """(tags + 1, tags): I follows only B or I of its kind; the last row is the beginning."""
    tags = tags_of(kinds)
    allowed = np.ones((len(tags) + 1, len(tags)), bool)
    for column, tag in enumerate(tags):
        if tag[0] == "I":
            allowed[:, column] = [before[1:] == tag[1:] for before in tags] + [False]
    return allowed


def best_paths(scores: Ints, transitions: Ints, lengths: Sequence[int]) -> list[Ints]:
    """Viterbi over many sequences at once.

    Args:
        scores: (sequences, longest, tags), anything behind a sequence's end.
        transitions: (tags + 1, tags); the last row is the beginning.
        lengths: of the sequences.
    """
    count, longest, tags = scores.shape
    total = scores[:, 0] + transitions[-1]
    back = np.zeros((longest, count, tags), np.int8)
    ends = np.asarray(lengths)
    final = total.copy()
    for step in range(1, longest):
        ways = total[:, :, None] + transitions[:-1]
        back[step] = ways.argmax(1)
        total = np.take_along_axis(ways, back[step][:, None].astype(np.int64), 1)[:, 0] + scores[:, step]
        final = np.where((ends > step)[:, None], total, final)
    paths: list[Ints] = []
    for number, length in enumerate(lengths):
        path = np.empty(length, np.int64)
        path[-1] = final[number].argmax()
        for step in range(length - 1, 0, -1):
            path[step - 1] = back[step, number, path[step]]
        paths.append(path)
    return paths


@dataclass(frozen=True)
class Tagger:
    """A trained tagger."""

    kinds: tuple[NameKind, ...]
    weights: npt.NDArray[np.int32]
    transitions: Ints

    def find(self, texts: Sequence[str]) -> list[list[tuple[int, int, NameKind]]]:
        """(start, end, kind) of every name and address, by text."""
        found: list[list[tuple[int, int, NameKind]]] = [[] for _ in texts]
        for first, last in _batches([len(text) for text in texts]):
            tokens = tokens_of(texts[first:last])
            for number, start, end, kind in spans_of(tokens, self.tag(tokens), self.kinds):
                found[first + number].append((start, end, kind))
        return found

    def tag(self, tokens: Tokens) -> Ints:
        """The tag of every token."""
        tags = np.zeros(len(tokens.words), np.int64)
        ends = tokens.borders
        order = sorted(range(len(ends) - 1), key=lambda number: ends[number + 1] - ends[number])
        features = features_of(tokens.words, ends)
        scores = self.weights[features].sum(1, dtype=np.int32)
        for batch in _of_similar_length(order, ends):
            lengths = [ends[number + 1] - ends[number] for number in batch]
            padded = np.zeros((len(batch), max(lengths), scores.shape[1]), np.int32)
            for row, number in enumerate(batch):
                padded[row, : lengths[row]] = scores[ends[number] : ends[number + 1]]
            for number, path in zip(batch, best_paths(padded, self.transitions, lengths), strict=True):
                tags[ends[number] : ends[number + 1]] = path
        return tags


def spans_of(tokens: Tokens, tags: Ints, kinds: Sequence[NameKind]) -> Iterator[tuple[int, int, int, NameKind]]:
    """(text, start, end, kind) of every run of tags; ends never are line ends."""
    names = tags_of(kinds)
    begun = np.flatnonzero(np.char.startswith(np.array(names), "B")[tags])
    for first in begun.tolist():
        last = first
        inside = tags[first] + 1
        while last + 1 < len(tags) and tags[last + 1] == inside and tokens.spans[last + 1][0] == tokens.spans[first][0]:
            last += 1
        while last > first and tokens.words[last] == "\n":
            last -= 1
        number, start, _ = tokens.spans[first]
        yield number, start, tokens.spans[last][2], kinds[(int(tags[first]) - 1) // 2]


def _batches(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges of texts with about `TOKENS_AT_ONCE` tokens each."""
    first, held = 0, 0
    for number, length in enumerate(lengths):
        held += length
        if held >= 5 * TOKENS_AT_ONCE:
            yield first, number + 1
            first, held = number + 1, 0
    if first < len(lengths):
        yield first, len(lengths)


def _of_similar_length(order: Sequence[int], ends: Sequence[int]) -> Iterator[list[int]]:
    """Sequences by length, in batches that waste little on padding."""
    batch: list[int] = []
    for number in order:
        length = ends[number + 1] - ends[number]
        if batch and (len(batch) * length > TOKENS_AT_ONCE or length > 8 + 1.25 * (ends[batch[0] + 1] - ends[batch[0]])):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def load_tagger(folder: Path) -> Tagger:
    """The tagger that a `names` stage left in `folder`."""
    kinds = tuple(read_json(folder / FACTS)["kinds"])
    weights, transitions = (np.load(folder / name, allow_pickle=False) for name in (WEIGHTS, TRANSITIONS))
    return Tagger(kinds, weights, transitions)
