"""A linear classifier over hashed words: logistic regression on the words and runs of words of a text.

    text -> words (lower case; marks are words) -> runs of 1 ... n -> buckets -> weights -> probability

Trained by Adagrad (Duchi et al. 2011) on batches in a seeded order, both classes weighing the same, each text scaled to length
one. Deterministic: hashes are blake2b's, sums are taken in one order, nothing depends on threads. Nothing is pickled. Does not
know where texts come from.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmpipe.base.files import atomic_file, read_json, write_json
from lmpipe.data.filters.trained_config import ClassifierConfig

WORD = re.compile(r"\w+|[^\w\s]")
WEIGHTS, HEADER = "weights.npy", "classifier.json"
BATCH = 64
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplication permutes 64-bit numbers
MAX_WORDS = 500_000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Features:
    """The buckets of some texts: those of text i are `buckets[borders[i] : borders[i + 1]]`, each once."""

    buckets: npt.NDArray[np.int64]
    borders: npt.NDArray[np.int64]

    def of(self, text: int) -> npt.NDArray[np.int64]:
        """The buckets of one text."""
        return self.buckets[self.borders[text] : self.borders[text + 1]]


class Featuriser:
    """Texts to buckets; remembers the hashes of words."""

    def __init__(self, buckets: int, word_ngrams: int) -> None:
        self.buckets, self.word_ngrams = buckets, word_ngrams
        self._hashes: dict[str, int] = {}

    def features(self, texts: Sequence[str]) -> Features:
        """The buckets of each text."""
        found = [self._of_text(text) for text in texts]
        borders = np.concatenate([[0], np.cumsum([len(buckets) for buckets in found])]).astype(np.int64)
        return Features(np.concatenate([np.empty(0, np.int64), *found]), borders)

    def _of_text(self, text: str) -> npt.NDArray[np.int64]:
        words = np.array([self._hash(word) for word in WORD.findall(text.lower())], np.uint64)
        runs, found = words, [words]
        for n in range(2, self.word_ngrams + 1):
            runs = runs[: len(words) - n + 1] * MULTIPLIER + words[n - 1 :] if len(words) >= n else words[:0]
            found.append(runs)
        mixed = np.concatenate(found)
        mixed = (mixed ^ (mixed >> np.uint64(31))) * MULTIPLIER
        return np.unique((mixed >> np.uint64(33)) % np.uint64(self.buckets)).astype(np.int64)

    def _hash(self, word: str) -> int:
        known = self._hashes.get(word)
        if known is None:
            if len(self._hashes) > MAX_WORDS:
                self._hashes.clear()
            known = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "little")
            self._hashes[word] = known
        return known


@dataclass(frozen=True)
class Classifier:
    """A trained one."""

    weights: npt.NDArray[np.float32]
    bias: float
    word_ngrams: int

    def probabilities(self, features: Features) -> Floats:
        """The probability of being positive, of each text, rounded so that no machine's last bits show."""
        sums = np.concatenate([[0.0], np.cumsum(self.weights[features.buckets], dtype=np.float64)])
        count = np.diff(features.borders)
        margins = np.diff(sums[features.borders]) / np.sqrt(np.maximum(count, 1)) + self.bias
        return np.asarray(np.round(_sigmoid(margins), 6))

    def featuriser(self) -> Featuriser:
        """Makes the features that it was trained on."""
        return Featuriser(len(self.weights), self.word_ngrams)


def train_classifier(features: Features, positive: npt.NDArray[np.bool_], config: ClassifierConfig, seed: int) -> Classifier:
    """Fit a classifier.

    Args:
        features: of the examples, made with the buckets and runs of `config`.
        positive: which examples are; there must be some of both kinds.
        config: how.
        seed: of the order.
    """
    count, scale = len(positive), 1 / np.sqrt(np.maximum(np.diff(features.borders), 1))
    weigh = np.where(positive, count / (2 * positive.sum()), count / (2 * (~positive).sum()))
    weights, seen, gradient = (np.zeros(config.buckets) for _ in range(3))
    bias, bias_seen = 0.0, 1e-8
    random = np.random.default_rng(seed)
    for _ in range(config.epochs):
        order = random.permutation(count)
        for start in range(0, count, BATCH):
            batch = order[start : start + BATCH]
            parts = [features.of(text) for text in batch]
            lengths = np.fromiter(map(len, parts), np.int64, len(parts))
            buckets, row = np.concatenate(parts), np.repeat(np.arange(len(batch)), lengths)
            margins = np.bincount(row, weights[buckets], len(batch)) * scale[batch] + bias
            error = (_sigmoid(margins) - positive[batch]) * weigh[batch] / len(batch)
            np.add.at(gradient, buckets, (error * scale[batch])[row])
            step = gradient[buckets]
            seen[buckets] = seen[buckets] + step**2
            weights[buckets] = weights[buckets] - config.learning_rate * step / np.sqrt(seen[buckets] + 1e-12)
            gradient[buckets] = 0
            bias_seen += error.sum() ** 2
            bias -= config.learning_rate * error.sum() / np.sqrt(bias_seen)
    return Classifier(weights.astype(np.float32), float(np.float32(bias)), config.word_ngrams)


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -50, 50))))


def area_under_curve(scores: Floats, positive: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """(AUC, lower, upper): the chance that a positive scores above a negative, ties half; 95% by Hanley and McNeil (1982)."""
    ones, zeros = int(positive.sum()), int((~positive).sum())
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    area = float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (ones - 1) * (q1 - area**2) + (zeros - 1) * (q2 - area**2)) / (ones * zeros)
    half = 1.96 * float(np.sqrt(max(variance, 0.0)))
    return round(area, 6), round(max(0.0, area - half), 6), round(min(1.0, area + half), 6)


def save_classifier(classifier: Classifier, folder: Path, facts: dict[str, object]) -> None:
    """Write `weights.npy` and `classifier.json`."""
    with atomic_file(folder / WEIGHTS) as file:
        np.save(file, classifier.weights, allow_pickle=False)
    write_json(folder / HEADER, {"bias": classifier.bias, "word_ngrams": classifier.word_ngrams, **facts})


def load_classifier(folder: Path) -> Classifier:
    """The inverse of `save_classifier`."""
    header = read_json(folder / HEADER)
    return Classifier(np.load(folder / WEIGHTS, allow_pickle=False), header["bias"], header["word_ngrams"])
