"""The same n-gram model as `training.py` and `model.py`, written to be read and checked by hand: dictionaries and the formulas.

Interpolated modified Kneser-Ney (Chen and Goodman 1998, section 3), with the conventions of KenLM (Heafield et al. 2013):

    a(g)       for the longest order, and for g at the beginning of a document: how often g occurs
               for other g: after how many different tokens g occurs
    P(w | h) = max(a(hw) - D(a(hw)), 0) / a(h.)  +  gamma(h) P(w | h')      h' is h without its first token
    gamma(h) = (D1 N1(h.) + D2 N2(h.) + D3 N3+(h.)) / a(h.)                 and 1 where h never occurred
    P(w)       is interpolated with 1 / vocab_size

with D1, D2, D3+ of each order from its counts of counts. Far too slow for real text; that is what the fast one is for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from lmpipe.models.ngram.discounts import discounts_of

Gram = tuple[int, ...]
BEGIN = -1
"""Stands before the first token of a document; never predicted."""


class ReferenceNgram:
    """An n-gram model of `order` over ids in [0, vocab_size)."""

    def __init__(self, documents: Iterable[Sequence[int]], order: int, vocab_size: int, prune_at: Sequence[int] = ()) -> None:
        self.order = order
        self.vocab_size = vocab_size
        occurrences = _occurrences([[BEGIN, *document] for document in documents], order)
        self.counts = [_adjusted(k, order, occurrences) for k in range(1, order + 1)]
        self.discounts = [discounts_of(Counter(counts.values())) for counts in self.counts]
        self.totals: list[Counter[Gram]] = []
        self.freed: list[dict[Gram, float]] = []
        for k, counts in enumerate(self.counts, start=1):
            threshold = prune_at[min(k, len(prune_at)) - 1] if prune_at else 0
            self._prepare(counts, self.discounts[k - 1], {g for g in counts if occurrences[g] <= threshold})

    def _prepare(self, counts: Counter[Gram], discounts: tuple[float, float, float], pruned: set[Gram]) -> None:
        """For each context: the sum of its counts, and the mass that discounts and pruned n-grams leave to the order below."""
        totals: Counter[Gram] = Counter()
        freed: dict[Gram, float] = defaultdict(float)
        for gram, count in counts.items():
            totals[gram[:-1]] += count
            freed[gram[:-1]] += count if gram in pruned else discounts[min(count, 3) - 1]
        for gram in pruned:
            del counts[gram]
        self.totals.append(totals)
        self.freed.append(freed)

    def probability(self, token: int, context: Sequence[int]) -> float:
        """P(token | context); `context` begins with `BEGIN` when it is a whole beginning of a document."""
        context = tuple(context)[-(self.order - 1) :] if self.order > 1 else ()
        return self._interpolated(token, context)

    def _interpolated(self, token: int, context: Gram) -> float:
        k = len(context) + 1
        lower = self._interpolated(token, context[1:]) if context else 1 / self.vocab_size
        total = self.totals[k - 1][context]
        if total == 0:
            return lower
        count = self.counts[k - 1][(*context, token)]
        own = count - self.discounts[k - 1][min(count, 3) - 1] if count else 0.0
        return (own + self.freed[k - 1][context] * lower) / total

    def probabilities(self, document: Sequence[int]) -> list[float]:
        """The probability of every token of a document given those before it."""
        padded = [BEGIN, *document]
        return [self.probability(padded[i], padded[:i]) for i in range(1, len(padded))]


def _occurrences(documents: list[list[int]], order: int) -> Counter[Gram]:
    """How often each n-gram of 1 to `order` tokens occurs within a document; the begin alone is no n-gram."""
    return Counter(
        tuple(document[start : start + k])
        for document in documents
        for k in range(1, order + 1)
        for start in range(len(document) - k + 1)
        if (start, k) != (0, 1)
    )


def _adjusted(k: int, order: int, occurrences: Counter[Gram]) -> Counter[Gram]:
    """The counts a(g) of the n-grams of `k` tokens."""
    if k == order:
        return Counter({g: count for g, count in occurrences.items() if len(g) == k})
    adjusted = Counter(g[1:] for g in occurrences if len(g) == k + 1)
    adjusted.update({g: count for g, count in occurrences.items() if len(g) == k and g[0] == BEGIN})
    return adjusted
