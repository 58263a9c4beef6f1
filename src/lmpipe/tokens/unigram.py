"""Trains the pieces of a Unigram tokenizer over bytes (Kudo 2018, "Subword Regularization", section 3.2): many candidates,
their probabilities by expectation-maximisation, and the least useful ones dropped, over and over.

    words with counts  >  candidates: frequent substrings  >  [ EM, EM, drop a quarter ] ...  >  pieces, log probabilities

Written here because the library's trainer sums in the order of a hash table, so that equal texts give other pieces each time;
and it counts candidates once for each word, however often that occurs: at 4,096 entries ours cuts Python's sources that neither
saw into 10% fewer tokens. All words of one length are gone through at once: arrays of shape (words W, starts S, lengths M) hold
the candidate that begins at a start and has a length, and a candidate that was dropped has the score -inf.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WORDS = 100_000
"""The most frequent words of the corpus that are learned from: others add memory, and hardly a piece."""
LONGEST_WORD = 64
"""In bytes: what is longer is no word."""
CANDIDATES_PER_PIECE = 10
"""Candidates at the beginning, for each piece that is wanted."""
KEPT = 0.75
"""Share of the candidates that is left by each round, as in SentencePiece."""
EM_STEPS = 2
OVERSHOOT = 1.1
"""The rounds end at this many times the pieces that are wanted; the most probable of them are taken, as in SentencePiece."""
LEAST_COUNT = 0.5
"""Candidates expected less often than this are dropped, as in SentencePiece."""


@dataclass(frozen=True)
class _Lattice:
    """All cuts of the words of one length."""

    ids_WSM: NDArray[np.int32]
    """The candidate of length m + 1 that begins at a start; -1: none."""
    counts_W: Floats


def learn_pieces(words: Mapping[str, int], alphabet: Sequence[str], *, size: int, longest: int) -> list[tuple[str, float]]:
    """The pieces with their log probabilities: the alphabet in its order, then the others, most probable first.

    Args:
        words: how often each occurs, spelled in the alphabet.
        alphabet: single characters, always kept.
        size: of the result, at most.
        longest: characters of a piece, at most.
    """
    ordered = sorted(words, key=lambda word: (-words[word], word))
    chosen = [word for word in ordered if len(word) <= LONGEST_WORD][:WORDS]
    counts = {word: float(words[word]) for word in chosen}
    pieces, first = _candidates(counts, alphabet, wanted=CANDIDATES_PER_PIECE * size, longest=longest)
    places = {piece: number for number, piece in enumerate(pieces)}
    lattices = _lattices(chosen, [counts[word] for word in chosen], places, longest)
    # What a piece would be cut into without it: the same, with pieces for words.
    own = _lattices(pieces, [1.0] * len(pieces), places, longest)
    by_length = defaultdict(list)
    for number, piece in enumerate(pieces):
        by_length[len(piece)].append(number)
    score_P = _log_probabilities(first)
    always = len(alphabet)
    while True:
        expected_P = first
        for _ in range(EM_STEPS):
            expected_P = _expected(lattices, score_P)
            dropped = expected_P < LEAST_COUNT
            dropped[:always] = False
            score_P = np.where(np.isneginf(score_P) | dropped, -np.inf, _digamma(np.maximum(expected_P, LEAST_COUNT)))
            score_P -= _digamma(np.array([np.maximum(expected_P[~np.isneginf(score_P)], LEAST_COUNT).sum()]))[0]
        alive = np.flatnonzero(~np.isneginf(score_P))
        if len(alive) <= OVERSHOOT * size:
            break
        kept = max(round(KEPT * len(alive)), round(OVERSHOOT * size))
        score_P = _pruned(score_P, expected_P, own, by_length, kept=kept, always=always, pieces=pieces)
    rounded = [round(float(score), 6) for score in score_P]
    others = sorted((n for n in alive.tolist() if n >= always), key=lambda n: (-rounded[n], pieces[n]))
    return [(pieces[n], rounded[n]) for n in (*range(always), *others)][:size]


def _candidates(counts: Mapping[str, float], alphabet: Sequence[str], *, wanted: int, longest: int) -> tuple[list[str], Floats]:
    """The alphabet, then the substrings of words that cover most text; and how often each occurs."""
    single: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            single[character] += count  # type: ignore[assignment]
        for start in range(len(word) - 1):
            for stop in range(start + 2, min(start + longest, len(word)) + 1):
                found[word[start:stop]] += count  # type: ignore[assignment]
    often = [piece for piece, count in found.items() if count >= 2]
    often.sort(key=lambda piece: (-found[piece] * len(piece), piece))
    pieces = [*alphabet, *often[:wanted]]
    occurring = [float(single[piece] if len(piece) == 1 else found[piece]) for piece in pieces]
    return pieces, np.maximum(np.array(occurring), LEAST_COUNT)


def _lattices(words: Iterable[str], counts: Iterable[float], places: Mapping[str, int], longest: int) -> dict[int, _Lattice]:
    """By length of the words, in which they keep their order."""
    grouped: dict[int, list[tuple[str, float]]] = defaultdict(list)
    for word, count in zip(words, counts, strict=True):
        grouped[len(word)].append((word, count))
    found = {}
    for length, members in sorted(grouped.items()):
        reach = min(longest, length)
        ids_WSM = np.full((len(members), length, reach), -1, np.int32)
        for row, (word, _) in enumerate(members):
            for start in range(length):
                for size in range(1, min(reach, length - start) + 1):
                    ids_WSM[row, start, size - 1] = places.get(word[start : start + size], -1)
        found[length] = _Lattice(ids_WSM, np.array([count for _, count in members]))
    return found


def _expected(lattices: Mapping[int, _Lattice], score_P: Floats) -> Floats:
    """How often each candidate is expected in a cut of all words, by forward and backward sums over all cuts."""
    scores = np.append(score_P, -np.inf)  # the last stands for no candidate, -1
    total_P = np.zeros(len(score_P))
    for length, lattice in lattices.items():
        ids_WSM, reach = lattice.ids_WSM, lattice.ids_WSM.shape[2]
        score_WSM = scores[ids_WSM]
        forward, backward = (np.full((len(ids_WSM), length + 1), -np.inf) for _ in range(2))
        forward[:, 0] = backward[:, length] = 0.0
        for stop in range(1, length + 1):
            starts = np.arange(max(0, stop - reach), stop)
            forward[:, stop] = _log_sum(forward[:, starts] + score_WSM[:, starts, stop - starts - 1])
        for start in range(length - 1, -1, -1):
            sizes = np.arange(1, min(reach, length - start) + 1)
            backward[:, start] = _log_sum(backward[:, start + sizes] + score_WSM[:, start, sizes - 1])
        for size in range(1, reach + 1):
            starts = np.arange(length - size + 1)
            log_share = forward[:, starts] + score_WSM[:, starts, size - 1] + backward[:, starts + size] - forward[:, [length]]
            ids = ids_WSM[:, starts, size - 1].ravel()
            weights = (np.exp(log_share) * lattice.counts_W[:, None]).ravel()
            there = ids >= 0
            total_P += np.bincount(ids[there], weights[there], minlength=len(score_P))
    return total_P


def _pruned(
    score_P: Floats,
    expected_P: Floats,
    own: Mapping[int, _Lattice],
    by_length: Mapping[int, Sequence[int]],
    *,
    kept: int,
    always: int,
    pieces: Sequence[str],
) -> Floats:
    """The scores without the candidates whose loss would be felt least: how often a candidate is expected, times what its
    best cut into others costs more."""
    scores = np.append(score_P, -np.inf)
    loss_P = np.full(len(score_P), np.inf)
    for length, lattice in own.items():
        if length == 1:
            continue
        score_WSM = scores[lattice.ids_WSM]
        score_WSM[:, 0, length - 1] = -np.inf  # without itself
        best = np.full((len(score_WSM), length + 1), -np.inf)
        best[:, 0] = 0.0
        for stop in range(1, length + 1):
            starts = np.arange(0, stop)
            best[:, stop] = (best[:, starts] + score_WSM[:, starts, stop - starts - 1]).max(axis=1)
        numbers = np.array(by_length[length])
        alive = ~np.isneginf(score_P[numbers])
        loss_P[numbers[alive]] = expected_P[numbers[alive]] * (score_P[numbers[alive]] - best[alive, length])
    candidates = [n for n in np.flatnonzero(~np.isneginf(score_P)).tolist() if n >= always]
    # Rounded, so that what differs by the order of sums alone is a tie, and ties fall to the spelling.
    candidates.sort(key=lambda n: (-float(np.float32(loss_P[n])), pieces[n]))
    pruned = np.full(len(score_P), -np.inf)
    stay = [*range(always), *candidates[: max(0, kept - always)]]
    pruned[stay] = score_P[stay]
    return pruned


def _log_probabilities(counts: Floats) -> Floats:
    result: Floats = np.log(counts) - np.log(counts.sum())
    return result


def _log_sum(values: Floats) -> Floats:
    highest = values.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        result: Floats = np.log(np.exp(values - highest).sum(axis=1)) + highest[:, 0]
    return result


def _digamma(x: Floats) -> Any:
    """The derivative of ln gamma for x >= 0.5, by its recurrence up to 7 and its asymptotic series there (Bernardo 1976).

    >>> round(float(_digamma(np.array([1.0]))[0]), 6)
    -0.577216
    """
    x, result = x.astype(np.float64).copy(), np.zeros(len(x))
    for _ in range(7):
        low = x < 7
        result[low] -= 1 / x[low]
        x[low] += 1
    inverse = 1 / (x * x)
    return result + np.log(x) - 0.5 / x - inverse * (1 / 12 - inverse * (1 / 120 - inverse / 252))
