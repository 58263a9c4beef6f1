"""Counts n-grams and estimates interpolated modified Kneser-Ney, one order after the other, by sorting.

The formulas and their sources stand in `reference.py`, which a test compares with this. Here each position of the text carries
the entry of the n-gram that ends there; the next order's n-gram is that entry and one more token, so one sort of 64-bit keys
per order counts them exactly. Pruning looks at occurrences (never at Kneser-Ney's adjusted counts), so that the first tokens of
a kept n-gram are always kept too; what is pruned gives its mass to the shorter contexts.

Takes about 100 bytes of memory per token at order 5. Deterministic: equal documents and config give equal bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import TrainingError
from lmpipe.base.progress import Progress
from lmpipe.models.ngram.config import NgramConfig
from lmpipe.models.ngram.discounts import Discounts, discounts_of
from lmpipe.models.ngram.model import NgramModel, Table, stream_of

Keys = NDArray[np.int64]
Ints = NDArray[np.int32]
"""Entries and counts: never more than tokens and documents together, which `max_tokens` keeps below 2**31."""


def train(
    documents: Iterable[NDArray[np.integer]], config: NgramConfig, *, vocab_size: int, end_of_text_id: int, progress: Progress
) -> NgramModel:
    """Estimate a model from the ids of documents, each closed by end-of-text.

    Raises:
        TrainingError: when there are no tokens.
    """
    ids, starts = _collect(documents, config.max_tokens, progress)
    if len(ids) == 0:
        raise TrainingError(
            "there are no tokens to count n-grams in", expected="at least one document", fix="check the training split"
        )
    stream = stream_of(ids, vocab_size, end_of_text_id, starts)[0].astype(np.int32)
    facts = {"training_tokens": len(ids), "training_documents": int(starts.sum())}
    del ids, starts
    orders = _count(stream, config, vocab_size, progress)
    tables, discounts = _estimate(orders, config, vocab_size)
    return NgramModel(vocab_size, end_of_text_id, tables, {**facts, "prune": list(config.prune), "discounts": discounts})


def _collect(
    documents: Iterable[NDArray[np.integer]], max_tokens: int, progress: Progress
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """All documents in one array, and where each begins; beyond `max_tokens` every 2nd, 4th, 8th ... document only."""
    kept: list[tuple[int, NDArray[Any]]] = []
    tokens, step = 0, 1
    for number, document in enumerate(documents):
        if number % step:
            continue
        kept.append((number, np.array(document[:max_tokens])))
        tokens += len(kept[-1][1])
        while tokens > max_tokens and len(kept) > 1:
            step *= 2
            kept = [(n, ids) for n, ids in kept if n % step == 0]
            tokens = sum(len(ids) for _, ids in kept)
    if step > 1:
        progress.note(f"n-gram: counting every {step}th document, {tokens:,} tokens, to stay below {max_tokens:,}")
    arrays = [ids for _, ids in kept if len(ids)]
    starts = np.zeros(sum(map(len, arrays)), np.bool_)
    if not arrays:
        return np.empty(0, np.int64), starts
    starts[np.cumsum([0, *map(len, arrays[:-1])])] = True
    return np.concatenate(arrays), starts


@dataclass
class _Order:
    """The distinct n-grams of one order, by entry."""

    keys: Keys
    occurrences: Ints
    begins: NDArray[np.bool_]
    """Whether it stands at the beginning of a document."""
    suffix: Ints
    """Entry of its last k-1 tokens in the order below."""
    adjusted: Ints
    """Kneser-Ney's count a(g)."""


def _count(stream: Ints, config: NgramConfig, vocab_size: int, progress: Progress) -> list[_Order]:
    base = vocab_size + 1
    entries = np.arange(base)
    occurrences = np.bincount(stream, minlength=base).astype(np.int32)
    occurrences[vocab_size] = 0  # the beginning is no event
    orders = [_Order(entries, occurrences, entries == vocab_size, np.zeros(base, np.int32), occurrences)]
    depth = _depth(stream, vocab_size)
    ending = stream  # at i: the entry of the n-gram of the last order that ends at i
    for k in range(2, config.order + 1):
        progress.update(k - 1, config.order, "orders")
        places = np.flatnonzero(depth >= k - 1)  # where an n-gram of k tokens, begin included, fits into the document
        keys, inverse, first, occurrences = _distinct(ending[places - 1].astype(np.int64) * base + stream[places])
        suffix = ending[places[first]]
        orders.append(_Order(keys, occurrences, depth[places[first]] == k - 1, suffix, occurrences))
        below = orders[-2]
        distinct_before = np.bincount(suffix, minlength=len(below.keys)).astype(np.int32)
        below.adjusted = np.where(below.begins, below.occurrences, distinct_before)
        ending = np.full(len(stream), -1, np.int32)
        ending[places] = inverse
    progress.update(config.order, config.order, "orders")
    return orders


def _depth(stream: Ints, begin: int) -> Ints:
    """How many tokens of its document stand before each position, the begin counted as one."""
    begins = np.flatnonzero(stream == begin)
    return np.arange(len(stream), dtype=np.int32) - np.repeat(begins, np.diff(begins, append=len(stream))).astype(np.int32)


def _distinct(keys: Keys) -> tuple[Keys, Ints, Keys, Ints]:
    """Distinct keys ascending, the entry of each key among them, one place of each, how often each occurs."""
    order = np.argsort(keys)
    ascending = keys[order]
    new = np.empty(len(keys), np.bool_)
    new[:1] = True
    np.not_equal(ascending[1:], ascending[:-1], out=new[1:])
    first = np.flatnonzero(new)
    inverse = np.empty(len(keys), np.int32)
    inverse[order] = np.cumsum(new, dtype=np.int32) - 1
    return ascending[first], inverse, order[first], np.diff(first, append=len(keys)).astype(np.int32)


def _estimate(orders: list[_Order], config: NgramConfig, vocab_size: int) -> tuple[list[Table], list[Discounts]]:
    """Probabilities from the shortest order up; then what pruning leaves, renumbered."""
    base = vocab_size + 1
    probability = np.full(1, 1 / vocab_size)  # of order 0: every token alike
    tables: list[Table] = []
    discounts: list[Discounts] = []
    kept_below, entry_below = np.ones(1, np.bool_), np.zeros(1, np.int64)
    for k, order in enumerate(orders, start=1):
        kept = order.occurrences > config.prune_at(k) if k > 1 else np.ones(base, np.bool_)
        context = order.keys // base if k > 1 else np.zeros(base, np.int64)
        found = _discounts(order.adjusted)
        probability, backoff = _interpolate(order, context, kept, found, probability)
        if k > 1:
            tables[-1] = Table(tables[-1].keys, tables[-1].log_probability, np.log(backoff[kept_below]).astype(np.float32))
        keys = entry_below[context[kept]] * base + order.keys[kept] % base if k > 1 else np.empty(0, np.int64)
        tables.append(Table(keys, _log(probability[kept]), np.empty(0, np.float32)))
        discounts.append(found)
        kept_below, entry_below = kept, np.cumsum(kept) - 1
    return tables, discounts


def _discounts(adjusted: Ints) -> Discounts:
    counts = np.bincount(np.minimum(adjusted, 5), minlength=6).tolist()
    return discounts_of(Counter({count: counts[count] for count in (1, 2, 3, 4)}))


def _interpolate(
    order: _Order, context: Keys, kept: NDArray[np.bool_], discounts: Discounts, shorter: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The probability of every n-gram of the order, and the backoff weight of every entry of the order below as a context.

    Args:
        order: the n-grams.
        context: the entry of each one's first tokens in the order below.
        kept: which of them pruning leaves.
        discounts: of this order.
        shorter: probabilities of the order below, by its entries.
    """
    discount = np.array([0.0, *discounts])[np.minimum(order.adjusted, 3)]
    total = np.bincount(context, order.adjusted, len(shorter))
    freed = np.bincount(context, np.where(kept, discount, order.adjusted), len(shorter))
    seen = total > 0
    backoff = np.ones(len(shorter))
    backoff[seen] = freed[seen] / total[seen]
    own = np.where(kept, order.adjusted - discount, 0.0) / np.maximum(total, 1)[context]
    return own + backoff[context] * shorter[order.suffix], backoff


def _log(probability: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.log(probability).astype(np.float32)
