"""Which language a text is in: py3langid for most, lingua where that is unsure of a short text.

    naive Bayes over byte n-grams (py3langid's model, 140 languages), all texts of a batch at once
       `--> surer than 0.5, or a long text: that language
       `--> else lingua (75 languages, slower, better on few words)

Of a long text only a beginning and a middle of 2,000 characters each are looked at. Codes are ISO 639-1, Norwegian is `nb` or
`nn`; `und` (ISO 639-2) where there is nothing to go by. Confidence: py3langid's probability, sharpened by the square root of
the bytes as the library does it, or lingua's.

The walk through py3langid's automaton is ours, vectorised over texts: the library walks one text at a time, byte by byte in
Python.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from lmpipe.base.extras import require
from lmpipe.data.filters.batch import Batch

SAMPLE_CHARACTERS = 2000
SURE = 0.5
"""Measured on lingua's own test sets (benchmarks/data/language_id.py): with less, word pairs get worse; with more, few get
better."""
SHORT_CHARACTERS = 300
"""Longer texts of which py3langid is unsure are mixed, or no running text; lingua would take milliseconds for each."""
UNKNOWN = "und"
NAMES = {"no": "nb"}
LETTER = re.compile(r"[^\W\d_]")
TEXTS_AT_ONCE = 2048
PURPOSE = "the filter `language`"

Floats = npt.NDArray[np.float32]


class LanguageFinder:
    """Finds the languages of batches."""

    def __init__(self) -> None:
        self._bayes = _NaiveBayes()
        lingua = require("lingua", extra="language", purpose=PURPOSE)
        self._lingua = lingua.LanguageDetectorBuilder.from_all_languages().build()

    def __call__(self, batch: Batch) -> list[Any]:
        """(codes, confidences)."""
        found = self.find([sample_of(text) for text in batch.texts])
        return [[code for code, _ in found], np.array([confidence for _, confidence in found], np.float64)]

    def find(self, samples: Sequence[str]) -> list[tuple[str, float]]:
        """(code, confidence) of each text."""
        found = self._bayes.find(samples)
        return [self._checked(text, *first) for text, first in zip(samples, found, strict=True)]

    def _checked(self, text: str, code: str, confidence: float) -> tuple[str, float]:
        if not LETTER.search(text):
            return UNKNOWN, 0.0
        if confidence >= SURE or len(text) > SHORT_CHARACTERS:
            return NAMES.get(code, code), round(confidence, 4)
        best = self._lingua.compute_language_confidence_values(text)[0]
        if best.value == 0:
            return NAMES.get(code, code), round(confidence, 4)
        return best.language.iso_code_639_1.name.lower(), round(best.value, 4)


def sample_of(text: str) -> str:
    """The text, or a beginning and a middle of it."""
    if len(text) <= 2 * SAMPLE_CHARACTERS:
        return text
    middle = len(text) // 2
    return text[:SAMPLE_CHARACTERS] + "\n" + text[middle : middle + SAMPLE_CHARACTERS]


class _NaiveBayes:
    """py3langid's model."""

    def __init__(self) -> None:
        langid = require("py3langid.langid", extra="language", purpose=PURPOSE)
        self._identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
        self._next = np.asarray(self._identifier.tk_nextmove, np.int32)
        self._row = np.asarray(self._identifier.tk_row, np.int32) << 8
        self._feature = np.asarray(self._identifier.tk_output, np.int32)
        self._table = np.asarray(self._identifier.nb_ptc, np.float32)
        self._prior = np.asarray(self._identifier.nb_pc, np.float32)
        classes = list(self._identifier.nb_classes)
        self._labels = list(dict.fromkeys(classes))  # two scripts of one language are two classes
        self._label_of = [self._labels.index(name) for name in classes]

    def find(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The likeliest label of each text and its probability. Texts of like length go together, so that few wait for many."""
        encoded = [self._identifier._encode(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda place: len(encoded[place]))
        found: list[tuple[str, float]] = [("", 0.0)] * len(texts)
        for start in range(0, len(order), TEXTS_AT_ONCE):
            places = order[start : start + TEXTS_AT_ONCE]
            for place, answer in zip(places, self._classify([encoded[place] for place in places]), strict=True):
                found[place] = answer
        return found

    def _classify(self, texts: Sequence[bytes]) -> list[tuple[str, float]]:
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        scores = self._scores(self._visited(texts, lengths), len(texts))
        scores *= (1.0 / np.sqrt(np.maximum(lengths, 1)))[:, None].astype(np.float32)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities = np.zeros((len(texts), len(self._labels)), np.float32)
        scores /= scores.sum(axis=1, keepdims=True)
        for place, label in enumerate(self._label_of):
            probabilities[:, label] += scores[:, place]
        best = probabilities.argmax(axis=1)
        return [(self._labels[label], float(row[label])) for label, row in zip(best.tolist(), probabilities, strict=True)]

    def _visited(self, texts: Sequence[bytes], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """text * features + feature for every feature met, with repetitions. All texts walk at once, sorted by length."""
        size, longest = len(self._table), int(lengths.max(initial=0))
        grid = np.zeros((len(texts), longest), np.uint8)
        for row, text in zip(grid, texts, strict=True):
            row[: len(text)] = np.frombuffer(text, np.uint8)
        state = np.zeros(len(texts), np.int32)
        numbers = np.arange(len(texts)) * size
        met = []
        for step, letters in enumerate(np.ascontiguousarray(grid.T)):
            first = int(np.searchsorted(lengths, step, side="right"))  # texts before it have ended
            state[first:] = self._next[self._row[state[first:]] + letters[first:]]
            feature = self._feature[state[first:]]
            hit = np.flatnonzero(feature >= 0)
            met.append(numbers[first:][hit] + feature[hit])
        return np.concatenate(met) if met else np.empty(0, np.int64)

    def _scores(self, met: npt.NDArray[np.int64], texts: int) -> Floats:
        """Log posteriors, not normalised; of a text without features 0 for all."""
        keys, counts = np.unique(met, return_counts=True)
        weights = np.log1p(counts.astype(np.float32))
        text, feature = keys // len(self._table), keys % len(self._table)
        borders = np.searchsorted(text, np.arange(texts + 1))
        scores = np.zeros((texts, len(self._prior)), np.float32)
        for number, (start, end) in enumerate(pairwise(borders.tolist())):
            if end > start:
                scores[number] = weights[start:end] @ self._table[feature[start:end]] + self._prior
        return scores
