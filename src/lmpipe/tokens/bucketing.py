"""Batches of examples of similar length, each in a row of its own: where a model cannot hold several texts in a row apart.

    bucket    the examples of one width (lengths rounded up); in each epoch in another order, a keyed permutation
    batch     the next ones of a bucket, as many rows as hold `batch_tokens` positions; what is left goes to the next bucket
    epoch     the batches of all buckets, in a keyed permutation of their numbers

Promises: every example once in each epoch; `batch(position)` depends on the examples, the arguments and `position` only, and
costs the same for every position: a place in the order is computed, not looked up. Knows nothing of models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import TrainingError
from lmpipe.base.randomness import derive_seed
from lmpipe.tokens.loader import Batch, Ids, order_keys, permuted
from lmpipe.tokens.packing import PADDING, ExampleBatch, PackedExamples, clipped_lengths, laid_out
from lmpipe.tokens.shards import TokenShards

NARROWEST = 4
"""Positions; widths are multiples of this, and of an eighth of the power of two below them."""


def width_of(length: int) -> int:
    """The positions of a row for a text of so many tokens: at most an eighth of them, or three, stay empty.

    >>> width_of(3), width_of(25), width_of(130), width_of(500)
    (4, 28, 144, 512)
    """
    step = max(NARROWEST, (1 << max(0, length - 1).bit_length()) >> 4)
    return -(-length // step) * step


@dataclass(frozen=True)
class _Bucket:
    """The examples of one width."""

    width: int
    members: Ids
    """Ascending."""
    carried: int
    """Examples of the bucket before it, which its batches did not hold."""
    rows: int
    first: int
    """Number of its first batch."""
    batches: int


class LengthBuckets:
    """The order: which examples are in batch number `position`, and how wide its rows are."""

    def __init__(self, lengths: Ids, *, longest: int, batch_tokens: int, seed: int) -> None:
        """Sort the examples into buckets.

        Args:
            lengths: tokens of each example; longer ones count as `longest`.
            longest: positions of a row, at most.
            batch_tokens: positions of a batch, at most (one row at least).
            seed: of the order.
        """
        self.seed, self.examples = seed, len(lengths)
        lengths = np.minimum(lengths, longest)
        known = {length: min(longest, width_of(length)) for length in np.unique(lengths).tolist()}
        widths = np.array([known[length] for length in lengths.tolist()], np.int64)
        self._buckets: list[_Bucket] = []
        first = carried = 0
        for width in (present := np.unique(widths)).tolist():
            members, rows = np.flatnonzero(widths == width), max(1, batch_tokens // width)
            waiting = carried + len(members)
            batches = -(-waiting // rows) if width == present[-1] else waiting // rows
            self._buckets.append(_Bucket(width, members, carried, rows, first, batches))
            first, carried = first + batches, waiting - batches * rows
        self.batches_per_epoch = first
        self._firsts = np.array([bucket.first for bucket in self._buckets])

    def at(self, position: int) -> tuple[Ids, int]:
        """(examples, width of their rows); fewer than usual in one batch of each epoch."""
        epoch, within = divmod(position, self.batches_per_epoch)
        keys = order_keys(self.seed, "bucket order", epoch)
        number = int(permuted(np.array([within]), self.batches_per_epoch, keys)[0])
        place = int(np.searchsorted(self._firsts, number, side="right")) - 1  # never one without a batch
        bucket = self._buckets[place]
        start = (number - bucket.first) * bucket.rows
        return self._members(place, np.arange(start, min(start + bucket.rows, self._waiting(place))), epoch), bucket.width

    def _waiting(self, place: int) -> int:
        return self._buckets[place].carried + len(self._buckets[place].members)

    def _members(self, place: int, numbers: Ids, epoch: int) -> Ids:
        """What stands at `numbers` of a bucket's line: first what the bucket before it left over."""
        bucket = self._buckets[place]
        own = numbers[numbers >= bucket.carried] - bucket.carried
        keys = order_keys(derive_seed(self.seed, "bucket", bucket.width), "example order", epoch)
        found = bucket.members[permuted(own, len(bucket.members), keys)]
        left_over = numbers[numbers < bucket.carried]
        if not len(left_over):
            return found
        return np.concatenate([self._members(place - 1, left_over + self._waiting(place - 1) - bucket.carried, epoch), found])


class _InBuckets:
    """What loaders by length have in common."""

    _order: LengthBuckets

    def epoch(self, position: int) -> float:
        """How often everything was seen before batch `position`."""
        return position / self._order.batches_per_epoch

    def batches(self, epochs: float) -> int:
        """Batches that show everything `epochs` times, rounded up."""
        return max(1, -int(-epochs * self._order.batches_per_epoch // 1))


class BucketedLoader(_InBuckets):
    """Random access to batches of examples, one to a row."""

    def __init__(
        self,
        examples: PackedExamples,
        *,
        row_tokens: int,
        batch_tokens: int,
        seed: int,
        target_tokens: int | None = None,
    ) -> None:
        """Store the arguments and look at the lengths.

        Args:
            examples: of one side.
            row_tokens: positions of a row, at most; a longer example is cut, keeping its end token.
            batch_tokens: positions of a batch, at most.
            seed: of the order.
            target_tokens: positions of a target, at most; `row_tokens` when None.

        Raises:
            TrainingError: when there is no example.
        """
        if not len(examples):
            raise TrainingError("there is no example", where=str(examples.folder), expected="one at least", fix="add some")
        self.examples, self.row_tokens, self.tokens_per_batch = examples, row_tokens, batch_tokens
        self.target_tokens = target_tokens or row_tokens
        self._lengths, self._target_lengths, self.cut = clipped_lengths(examples, row_tokens, self.target_tokens)
        self._order = LengthBuckets(self._lengths, longest=row_tokens, batch_tokens=batch_tokens, seed=seed)

    def batch(self, position: int) -> ExampleBatch:
        """Batch number `position` (from 0); its width, and that of its targets, is its own."""
        members, width = self._order.at(position)
        targets = width_of(max(1, int(self._target_lengths[members].max())))
        return laid_out(
            self.examples,
            [members[place : place + 1] for place in range(len(members))],
            self._lengths,
            self._target_lengths,
            row_tokens=width,
            target_tokens=min(targets, self.target_tokens),
            places=1,
        )


class BucketedTexts(_InBuckets):
    """Random access to batches of whole documents, one to a row: conversations, none of which loses its beginning."""

    def __init__(self, shards: TokenShards, *, row_tokens: int, batch_tokens: int, seed: int) -> None:
        """Store the arguments and look at the lengths.

        Args:
            shards: the documents.
            row_tokens: positions of a row, at most; of a longer document the end is cut off.
            batch_tokens: positions of a batch, at most.
            seed: of the order.

        Raises:
            TrainingError: when there is no document.
        """
        if not shards.documents:
            raise TrainingError("there is no document", where=str(shards.folder), expected="one at least", fix="add some")
        self.shards, self.row_tokens, self.tokens_per_batch = shards, row_tokens, batch_tokens
        lengths = shards.document_lengths()
        self.cut = int((lengths > row_tokens).sum())
        """Documents that are longer than a row."""
        self._order = LengthBuckets(lengths, longest=row_tokens, batch_tokens=batch_tokens, seed=seed)

    def batch(self, position: int) -> Batch:
        """Batch number `position` (from 0). Padding is end-of-text, a segment of its own."""
        members, width = self._order.at(position)
        end = self.shards.end_of_text_id
        inputs: NDArray[np.int64] = np.full((len(members), width), end, np.int64)
        targets, segments = np.full_like(inputs, end), np.full_like(inputs, PADDING)
        for row, document in enumerate(members.tolist()):
            ids = self.shards.document(document)[:width]
            inputs[row, : len(ids)] = [self.shards.controls.start_of_text_id, *ids[:-1]]
            targets[row, : len(ids)] = ids
            segments[row, : len(ids)] = 0
        return Batch(inputs, targets, segments)
