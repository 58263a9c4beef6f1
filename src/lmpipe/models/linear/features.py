"""Texts to weighted features: words, runs of words and of characters by TF-IDF, each text of length one.

    "My card" -> my, card, my card -> count x (ln((1 + texts) / (1 + texts with it)) + 1) -> divided by the length

The weights are those of scikit-learn's `TfidfVectorizer` (smoothed idf, L2 norm). Words are lower case; marks are words,
because "?" and "!" say something about a text. What a text holds beyond the vocabulary is ignored.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lmpipe.models.linear.config import LinearConfig

WORD = re.compile(r"\w+|[^\w\s]")
SHORTEST_CHARACTERS = 3
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """A sparse matrix by rows: row i has `values[borders[i]:borders[i + 1]]` in the columns of the same places."""

    columns_Z: Ints
    values_Z: Floats
    borders: Ints

    def __len__(self) -> int:
        return len(self.borders) - 1

    @cached_property
    def row_Z(self) -> Ints:
        """The row of each filled place."""
        return np.repeat(np.arange(len(self)), np.diff(self.borders))


@dataclass(frozen=True)
class Vocabulary:
    """The features that were seen in training, in alphabetical order, and how much each counts."""

    config: LinearConfig
    terms: tuple[str, ...]
    idf_V: Floats

    @cached_property
    def _places(self) -> dict[str, int]:
        return {term: place for place, term in enumerate(self.terms)}

    def rows(self, texts: Sequence[str]) -> Rows:
        """One row of features for each text; its squares sum to 1, or it is empty."""
        columns: list[int] = []
        counts: list[int] = []
        borders = [0]
        for text in texts:
            found = {self._places[term]: n for term, n in terms_of(text, self.config).items() if term in self._places}
            columns += sorted(found)
            counts += [found[place] for place in sorted(found)]
            borders.append(len(columns))
        columns_Z, values_Z = np.array(columns, np.int64), np.array(counts, np.float64)
        values_Z = (1 + np.log(values_Z) if self.config.log_counts else values_Z) * self.idf_V[columns_Z]
        rows = Rows(columns_Z, values_Z, np.array(borders, np.int64))
        lengths_N = np.sqrt(np.bincount(rows.row_Z, values_Z**2, len(texts)))
        return Rows(columns_Z, values_Z / lengths_N[rows.row_Z], rows.borders)


def terms_of(text: str, config: LinearConfig) -> Counter[str]:
    """The features of a text with their counts.

    >>> sorted(terms_of("No, no", LinearConfig()))
    [',', ', no', 'no', 'no ,']
    """
    words = WORD.findall(text.lower())
    found = Counter(words)
    for n in range(2, config.word_ngrams + 1):
        found.update(" ".join(words[place : place + n]) for place in range(len(words) - n + 1))
    for n in range(SHORTEST_CHARACTERS, config.character_ngrams + 1):
        for word in words:
            marked = f"^{word}$"  # no word holds both a letter and a mark, so these are no words
            found.update("\t" + marked[place : place + n] for place in range(len(marked) - n + 1))
    return found


def learn_vocabulary(texts: Sequence[str], config: LinearConfig) -> Vocabulary:
    """The vocabulary of training texts."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(terms_of(text, config).keys())
    frequent = sorted((term for term, count in counts.items() if count >= config.min_texts), key=lambda t: (-counts[t], t))
    terms = tuple(sorted(frequent[: config.max_features]))
    texts_V = np.array([counts[term] for term in terms], np.float64)
    return Vocabulary(config, terms, np.log((1 + len(texts)) / (1 + texts_V)) + 1)
