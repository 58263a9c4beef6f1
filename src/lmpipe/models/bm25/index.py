"""Search by words: BM25 over an inverted index, in numpy.

    score(question, text) = sum over the question's words of idf x tf (k1 + 1) / (tf + k1 (1 - b + b length / mean length))
    idf = ln(1 + (texts - texts with the word + 0.5) / (texts with the word + 0.5))

Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", equations 3.15 and 3.3, with 1 added
inside the logarithm as Lucene does, so that a word in most texts counts little instead of against. A word that stands twice in
the question counts twice. Words are compared in lower case, without stemming; words to be ignored are handed in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"\w+")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def words_of(text: str) -> list[str]:
    """The words that are searched.

    >>> words_of("Isn't it 7.30?")
    ['isn', 't', 'it', '7', '30']
    """
    return WORD.findall(text.lower())


@dataclass(frozen=True)
class Bm25Index:
    """Which word stands where how often: the postings of term i are those from `borders_T1[i]` up to `borders_T1[i + 1]`."""

    k1: float
    b: float
    ignored: frozenset[str]
    """Words of a question that do not count in `shares`, unless it has no others."""
    terms: tuple[str, ...]
    borders_T1: Ints
    texts_P: Ints
    counts_P: Ints
    lengths_N: Ints
    """Words of each text."""

    @cached_property
    def _places(self) -> dict[str, int]:
        return {term: place for place, term in enumerate(self.terms)}

    @cached_property
    def _weights_P(self) -> Floats:
        """What each posting adds to a score, but for the question's count."""
        mean = max(float(self.lengths_N.mean()), 1.0) if len(self.lengths_N) else 1.0
        norm_P = self.k1 * (1 - self.b + self.b * self.lengths_N[self.texts_P] / mean)
        return np.asarray(self._idf_P * self.counts_P * (self.k1 + 1) / (self.counts_P + norm_P))

    @cached_property
    def _idf_P(self) -> Floats:
        texts_T = np.diff(self.borders_T1)
        idf_T = np.log(1 + (len(self.lengths_N) - texts_T + 0.5) / (texts_T + 0.5))
        return np.repeat(idf_T, texts_T)

    def scores(self, question: str) -> Floats:
        """The score of every text; 0 where no word is shared. All words count: they help to tell texts apart."""
        return self._sums(Counter(words_of(question)))

    def shares(self, question: str) -> Floats:
        """How near each text is to the highest score that the question allows: 0 to below 1, whatever the question's length.

        The highest score, which no text reaches, is that of a text with every word of the question without end. A word that no
        text has counts as the rarest of all, so every text is far from a question about something else. Ignored words do not
        count here, unless there are no others.
        """
        words = words_of(question)
        wanted = Counter([word for word in words if word not in self.ignored] or words)
        texts, highest = len(self.lengths_N), 0.0
        for term, count in wanted.items():
            postings = self._postings(term)
            found = postings.stop - postings.start
            highest += count * float(np.log(1 + (texts - found + 0.5) / (found + 0.5))) * (self.k1 + 1)
        return self._sums(wanted) / highest if highest else np.zeros(texts)

    def _sums(self, words: Counter[str]) -> Floats:
        sums_N = np.zeros(len(self.lengths_N))
        for term, count in words.items():
            postings = self._postings(term)
            sums_N[self.texts_P[postings]] += count * self._weights_P[postings]
        return sums_N

    def _postings(self, term: str) -> slice:
        place = self._places.get(term)
        return slice(0, 0) if place is None else slice(int(self.borders_T1[place]), int(self.borders_T1[place + 1]))


def build_bm25(texts: Sequence[str], *, k1: float, b: float, ignored: Collection[str] = ()) -> Bm25Index:
    """Index texts; equal texts give equal indices."""
    counted = [Counter(words_of(text)) for text in texts]
    postings: dict[str, list[tuple[int, int]]] = {}
    for number, counts in enumerate(counted):
        for term, count in counts.items():
            postings.setdefault(term, []).append((number, count))
    terms = tuple(sorted(postings))
    borders = np.cumsum([0, *(len(postings[term]) for term in terms)])
    pairs = np.array([pair for term in terms for pair in postings[term]], np.int64).reshape(-1, 2)
    lengths = np.array([sum(counts.values()) for counts in counted], np.int64)
    return Bm25Index(k1, b, frozenset(ignored), terms, borders.astype(np.int64), pairs[:, 0], pairs[:, 1], lengths)
