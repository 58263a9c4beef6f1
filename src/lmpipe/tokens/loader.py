"""Batches from token shards, for training and for evaluation.

Training sees windows of the stream of all documents, in a global random order without a buffer; its whole state is one integer:

    stream     d0 d0 d0 d0 <e> d1 d1 <e> d2 d2 d2 d2 d2 <e> ...
    windows    |-- 0 --|-- 1 --|-- 2 --| ...                 context_length tokens each, shifted anew in every epoch
    order      a keyed permutation of the window numbers, computed per number (Feistel network): any batch, in constant time

Evaluation sees every token of every document exactly once, and no document sees another.

End-of-text closes a document as a target and opens the next one as an input: where it stands among the inputs a new segment
begins, and attention that stays within segments crosses no border. Promises: `batch(position)` depends on the shards, the
arguments and `position` only. Knows nothing of models.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import TrainingError
from lmpipe.base.randomness import derive_seed
from lmpipe.tokens.shards import TokenRange, TokenShards

# Shape suffixes: B rows of a batch, T positions of a row.

Ids = NDArray[np.int64]

ROUNDS = 6
"""Rounds of the Feistel network. Four make a random permutation (Luby and Rackoff 1988); small halves want a few more."""


class Batch(NamedTuple):
    """One training batch. Unpacks as `inputs, targets, segments`."""

    inputs_BT: Ids
    targets_BT: Ids
    """The token after each input."""
    segments_BT: Ids
    """Number of the document within the row, from 0; attention stays within one."""


class Loader:
    """Random access to the batches of an endless, seeded sequence of epochs.

    Example:
        `Loader(shards, context_length=256, batch_size=32, seed=1).batch(1000)` is the batch after 1000 others, at no other cost
        than `batch(0)`: to resume, remember the number.
    """

    def __init__(
        self, shards: TokenShards | TokenRange, *, context_length: int, batch_size: int, seed: int, runs: int | None = None
    ) -> None:
        """Store the arguments and check that the shards fill one batch.

        Args:
            shards: the tokens.
            context_length: positions of a row.
            batch_size: rows of a batch.
            seed: of the order.
            runs: an epoch goes through the stream in so many runs, random within each; what the shards say when None (1: random
                all over).

        Raises:
            TrainingError: when they hold fewer windows than one batch has rows.
        """
        self.shards = shards
        self.runs = shards.runs if runs is None else runs
        self.context_length = context_length
        self.batch_size = batch_size
        self.seed = seed
        self.windows_per_epoch = _windows(shards.tokens, context_length)
        """One window fewer than would fit, so that every epoch can start at another token; one at least."""
        if self.windows_per_epoch < batch_size:
            raise _too_small(shards, context_length, batch_size)

    @property
    def tokens_per_batch(self) -> int:
        """Targets in one batch."""
        return self.batch_size * self.context_length

    @property
    def batches_per_epoch(self) -> float:
        """Batches until every window was seen once; epochs follow each other without a seam, so not always whole."""
        return self.windows_per_epoch / self.batch_size

    def epoch(self, position: int) -> float:
        """How often the windows were seen before batch `position`.

        >>> loader.epoch(0)                                                                         # doctest: +SKIP
        0.0
        """
        return position * self.batch_size / self.windows_per_epoch

    def batch(self, position: int) -> Batch:
        """Batch number `position` (from 0), each array of shape (batch_size, context_length)."""
        return batch_of(self.shards, self.window_starts(position), self.context_length)

    def window_starts(self, position: int) -> list[int]:
        """First token of each row of batch `position`."""
        first = position * self.batch_size
        return self.starts_of(np.arange(first, first + self.batch_size)).tolist()  # type: ignore[no-any-return]

    def starts_of(self, rows: Ids) -> Ids:
        """First token of each of `rows`, which are numbered through all batches and epochs; any of them, at the same cost."""
        epochs, within = np.divmod(rows, self.windows_per_epoch)
        starts = np.empty_like(rows)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            starts[here] = self._offset(epoch) + self._shuffled(within[here], epoch) * self.context_length
        return starts

    def _shuffled(self, windows: Ids, epoch: int) -> Ids:
        """Where the order of an epoch has its window numbers: anywhere within their run."""
        if self.runs == 1:
            return permuted(windows, self.windows_per_epoch, order_keys(self.seed, "loader order", epoch))
        borders = np.arange(self.runs + 1) * self.windows_per_epoch // self.runs
        runs = np.searchsorted(borders, windows, side="right") - 1
        out = np.empty_like(windows)
        for run in np.unique(runs).tolist():
            here, start = runs == run, int(borders[run])
            keys = order_keys(derive_seed(self.seed, "run", run), "loader order", epoch)
            out[here] = start + permuted(windows[here] - start, int(borders[run + 1]) - start, keys)
        return out

    def _offset(self, epoch: int) -> int:
        """Where the first window of an epoch begins: elsewhere each time, so that no token is always the first of a window."""
        slack = self.shards.tokens - 1 - self.windows_per_epoch * self.context_length
        return derive_seed(self.seed, "loader offset", epoch) % (min(slack, self.context_length - 1) + 1)


def batch_of(shards: TokenShards | TokenRange, starts: Sequence[int], context_length: int) -> Batch:
    """The windows that begin at `starts`. What closes a document opens the next as an input: where a tokenizer has another
    token for that, it stands there."""
    rows = np.empty((len(starts), context_length + 1), np.int64)
    for row, start in enumerate(starts):
        rows[row] = shards.slice(start, start + context_length + 1)
    inputs, end = np.ascontiguousarray(rows[:, :-1]), shards.end_of_text_id
    segments = segments_of(inputs, end)
    if shards.controls.start_of_text_id != end:
        inputs[inputs == end] = shards.controls.start_of_text_id
    return Batch(inputs, np.ascontiguousarray(rows[:, 1:]), segments)


def segments_of(inputs_BT: Ids, end_of_text_id: int) -> Ids:
    """Number of the document of each position within its row: one more from every end-of-text on.

    >>> segments_of(np.array([[5, 0, 6, 7, 0, 8]]), 0)
    array([[0, 1, 1, 1, 2, 2]])
    """
    return np.cumsum(inputs_BT == end_of_text_id, axis=1, dtype=np.int64)


def permuted(numbers: Ids, size: int, keys: tuple[int, ...]) -> Ids:
    """Where a keyed permutation of range(size) sends each of `numbers`, any of them alone and at the same cost.

    A Feistel network on a grid of about sqrt(size) by sqrt(size) numbers, walked on while it lands outside of range(size)
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"): the grid is hardly larger, so a second step is rare.
    """
    height = math.isqrt(size - 1) + 1
    width = -(-size // height)
    out = numbers.astype(np.uint64)
    walking = np.arange(len(out))
    while len(walking):
        out[walking] = _feistel(out[walking], np.uint64(height), np.uint64(width), keys)
        walking = walking[out[walking] >= size]
    return out.astype(np.int64)


def _feistel(values: NDArray[np.uint64], height: np.uint64, width: np.uint64, keys: tuple[int, ...]) -> NDArray[np.uint64]:
    left, right = values // width, values % width
    for key in keys:
        if key & 1:
            left = (left + _mix(right ^ np.uint64(key))) % height
        else:
            right = (right + _mix(left ^ np.uint64(key))) % width
    return left * width + right


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele et al. 2014): every bit in changes every bit out. Overflow is meant."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@lru_cache(maxsize=8)
def order_keys(seed: int, name: str, number: int) -> tuple[int, ...]:
    """For `permuted`: the keys of order `number` of a kind. One a round; its lowest bit says which half is changed, in turn."""
    return tuple(derive_seed(seed, name, number, part) >> 1 << 1 | part % 2 for part in range(ROUNDS))


def _windows(tokens: int, context_length: int) -> int:
    if tokens < context_length + 1:
        return 0
    return max(1, tokens // context_length - 1)


def _too_small(shards: TokenShards | TokenRange, context_length: int, batch_size: int) -> TrainingError:
    windows = _windows(shards.tokens, context_length)
    needed = context_length + 1 if batch_size == 1 else (batch_size + 1) * context_length
    return TrainingError(
        f"the training split has {shards.tokens:,} tokens: {windows:,} windows of {context_length:,}, fewer than one batch of "
        f"{batch_size:,}",
        where=str(shards.folder),
        expected=f"at least {needed:,} tokens",
        fix="add text, or lower the model's context or the phase's batch_tokens",
    )


# ------------------------------------------------------------------------------------------------------------- evaluation


@dataclass(frozen=True)
class Window:
    """A stretch of one document whose last targets are scored and whose first ones only give context."""

    document: int
    """Number of the document among the shards'."""
    inputs: Ids
    """(length,): at most context_length; the first window of a document begins with what opens documents."""
    targets: Ids
    """(length,): the token after each input."""
    score_from: int
    """Targets from here on are scored; the ones before were scored by an earlier window."""


class EvaluationBatch(NamedTuple):
    """Windows packed into rows: several documents may share a row, each in its own segment."""

    inputs_BT: Ids
    targets_BT: Ids
    segments_BT: Ids
    """Number of the window within the row; padding is a segment of its own."""
    documents_BT: Ids
    """Number of the document whose token is scored here; -1 where nothing is scored."""


def evaluation_windows(shards: TokenShards, context_length: int, *, stride: int | None = None) -> Iterator[Window]:
    """Windows over every document such that each of its tokens, the closing end-of-text included, is scored exactly once.

    Args:
        shards: the documents.
        context_length: inputs of one window, at most.
        stride: how far a window moves; the first `context_length - stride` tokens of a later window are only context. Half the
            context when None; `context_length` puts windows side by side.

    Example:
        A document of 5 tokens with context_length=4, stride=2: targets 0-3 are scored by the first window, 4 by the second,
        which has the targets 2-4.
    """
    stride = max(1, context_length // 2) if stride is None else stride
    if not 1 <= stride <= context_length:
        raise ValueError(f"stride {stride}; expected 1 to context_length = {context_length}")
    for index in range(shards.documents):
        yield from _windows_of(index, shards.document(index), shards.controls.start_of_text_id, context_length, stride)


def evaluation_batches(
    shards: TokenShards, *, context_length: int, batch_size: int, stride: int | None = None
) -> Iterator[EvaluationBatch]:
    """The windows of `evaluation_windows` in rows of `context_length`, `batch_size` rows at once (fewer in the last batch).

    A window goes into the current row if it fits, so short documents share rows and order is kept. Padding has input and target
    end-of-text and is not scored.
    """
    rows: list[list[Window]] = []
    room = 0
    for window in evaluation_windows(shards, context_length, stride=stride):
        if len(window.inputs) > room:
            if len(rows) == batch_size:
                yield _packed(rows, context_length, shards.end_of_text_id)
                rows = []
            rows.append([])
            room = context_length
        rows[-1].append(window)
        room -= len(window.inputs)
    if rows:
        yield _packed(rows, context_length, shards.end_of_text_id)


def _windows_of(index: int, document: NDArray[Any], start_id: int, context_length: int, stride: int) -> Iterator[Window]:
    targets = document.astype(np.int64)
    inputs = np.append(np.int64(start_id), targets[:-1])
    scored = 0
    start = 0
    while scored < len(targets):
        stop = min(start + context_length, len(targets))
        yield Window(index, inputs[start:stop], targets[start:stop], scored - start)
        scored = stop
        start += stride


def _packed(rows: list[list[Window]], context_length: int, end_of_text_id: int) -> EvaluationBatch:
    shape = (len(rows), context_length)
    inputs, targets = np.full(shape, end_of_text_id, np.int64), np.full(shape, end_of_text_id, np.int64)
    segments, documents = np.zeros(shape, np.int64), np.full(shape, -1, np.int64)
    for row, windows in enumerate(rows):
        start = 0
        for number, window in enumerate(windows):
            stop = start + len(window.inputs)
            inputs[row, start:stop], targets[row, start:stop] = window.inputs, window.targets
            segments[row, start:stop] = number
            documents[row, start + window.score_from : stop] = window.document
            start = stop
        segments[row, start:] = len(windows)
    return EvaluationBatch(inputs, targets, segments, documents)
