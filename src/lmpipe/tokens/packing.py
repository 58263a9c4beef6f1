"""Batches of whole examples, several to a row: for training on answers, and for predicting them.

    epoch     a keyed permutation of the examples
    rows      best fit into at most 16 open rows; an example never spans two, and nothing in a row sees its neighbours
    batch     `rows` rows of `row_tokens` positions: every batch has one shape, whatever the lengths

Few positions are padding, so nothing has to be sorted by length, and a compiled step is compiled once. Promises:
`batch(position)` depends on the examples, the arguments and `position` only; its cost does not, but for the rows of its epoch,
which are laid out once. Knows nothing of models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import TrainingError
from lmpipe.tokens.loader import Ids, order_keys, permuted

OPEN_ROWS = 16
"""Rows that are filled at the same time: on sentences of 5 to 50 tokens, rows of 128 are 98% full."""
PADDING = -1
"""Segment of padding."""
TWO_TEXTS = ("pairs", "matches")
"""Kinds of examples of which each has two texts, laid out side by side."""
SMALLEST_ROW = 128
"""Positions of a row where examples are shorter: below, attention costs little, and each row wastes a part of itself."""


@dataclass(frozen=True)
class ExampleBatch:
    """One batch. B rows, T positions, S positions of targets, K places for examples in a row, L labels."""

    inputs_BT: Ids
    segments_BT: Ids
    """Number of the example within the row, from 0; -1 for padding."""
    examples_BK: Ids
    """Which example of the shards is at each place; -1: none."""
    places_BK: Ids
    """Where it begins in its row; 0 where there is none."""
    answers: NDArray[Any] | None = None
    """(B, K), or (B, K, L) for several labels; rows of no example repeat the first one's."""
    tags_BT: Ids | None = None
    """Of tags: number + 1 at the first token of each word, else 0."""
    targets_BS: Ids | None = None
    """Of pairs and matches: the targets (passages), laid out as the inputs are."""
    target_segments_BS: Ids | None = None


class PackedTexts(Protocol):
    """Documents by number."""

    def document(self, number: int) -> NDArray[Any]:
        """The ids of one, its end token included."""

    def document_lengths(self) -> NDArray[np.int64]:
        """Tokens of each."""


class PackedExamples(Protocol):
    """What is put into rows: `ExampleShards`, or what looks like them."""

    folder: Path
    kind: str
    answers: Any

    @property
    def end_of_text_id(self) -> int:
        """What fills rows."""

    @property
    def inputs(self) -> PackedTexts:
        """The texts."""

    @property
    def targets(self) -> PackedTexts | None:
        """Of pairs and matches the other texts, of tags the tags."""

    def __len__(self) -> int: ...


class PackedLoader:
    """Random access to the batches of an endless sequence of epochs, shuffled anew in each; in order without a seed."""

    def __init__(
        self,
        examples: PackedExamples,
        *,
        row_tokens: int,
        batch_size: int,
        seed: int | None,
        target_tokens: int | None = None,
        places: int | None = None,
    ) -> None:
        """Store the arguments and look at the lengths.

        Args:
            examples: of one side.
            row_tokens: positions of a row; a longer example is cut, keeping its end token.
            batch_size: rows of a batch.
            seed: of the order; None: as they are.
            target_tokens: positions of a row of targets; `row_tokens` when None.
            places: at most so many examples to a row; when None, half as many again as fit of the average length.

        Raises:
            TrainingError: when there is no example.
        """
        if not len(examples):
            raise TrainingError("there is no example", where=str(examples.folder), expected="one at least", fix="add some")
        self.examples, self.row_tokens, self.batch_size, self.seed = examples, row_tokens, batch_size, seed
        self.target_tokens = target_tokens or row_tokens
        self._lengths, self._target_lengths, self.cut = clipped_lengths(examples, row_tokens, self.target_tokens)
        fill = max(self._lengths.mean() / row_tokens, self._target_lengths.mean() / self.target_tokens)
        self.places = places or max(1, math.ceil(1.5 / fill))
        self._epochs: list[list[Ids]] = []
        self._ends: list[int] = [0]
        """Rows before each epoch."""

    @property
    def tokens_per_batch(self) -> int:
        """Positions of the inputs of one batch, padding included."""
        return self.batch_size * self.row_tokens

    def epoch(self, position: int) -> float:
        """How often the examples were seen before batch `position`."""
        row = position * self.batch_size
        number = self._epoch_of(row)
        return number + (row - self._ends[number]) / len(self._epochs[number])

    def batches(self, epochs: float) -> int:
        """Batches that show every example `epochs` times, rounded up."""
        whole = math.floor(epochs)
        self._lay_out(math.ceil(epochs))
        part = (epochs - whole) * len(self._epochs[whole]) if epochs > whole else 0
        return max(1, math.ceil((self._ends[whole] + part) / self.batch_size))

    def batch(self, position: int) -> ExampleBatch:
        """Batch number `position` (from 0). In order, rows beyond the last one are empty."""
        first = position * self.batch_size
        rows = list(map(self._row, range(first, first + self.batch_size)))
        sizes = {"row_tokens": self.row_tokens, "target_tokens": self.target_tokens, "places": self.places}
        return laid_out(self.examples, rows, self._lengths, self._target_lengths, **sizes)

    def _row(self, number: int) -> Ids:
        if self.seed is None:
            self._lay_out(1)
            rows = self._epochs[0]
            return rows[number] if number < len(rows) else np.empty(0, np.int64)
        epoch = self._epoch_of(number)
        return self._epochs[epoch][number - self._ends[epoch]]

    def _epoch_of(self, row: int) -> int:
        while row >= self._ends[-1]:
            self._lay_out(len(self._epochs) + 1)
        return int(np.searchsorted(self._ends, row, side="right")) - 1

    def _lay_out(self, epochs: int) -> None:
        for epoch in range(len(self._epochs), epochs):
            count = len(self.examples)
            order = np.arange(count)
            if self.seed is not None:
                order = permuted(order, count, order_keys(self.seed, "example order", epoch))
            self._epochs.append(self._packed(order))
            self._ends.append(self._ends[-1] + len(self._epochs[-1]))

    def _packed(self, order: Ids) -> list[Ids]:
        """Examples of each row, best fit into the open ones; in order where nothing is shuffled."""
        open_rows = 1 if self.seed is None else OPEN_ROWS
        rows: list[Ids] = []
        members: list[list[int]] = []
        space: list[tuple[int, int]] = []
        lengths, targets = self._lengths[order].tolist(), self._target_lengths[order].tolist()
        for example, length, target in zip(order.tolist(), lengths, targets, strict=True):
            best, least = -1, self.row_tokens + 1
            for number, (left, target_left) in enumerate(space):
                if length <= left < least and target <= target_left and len(members[number]) < self.places:
                    best, least = number, left
            if best < 0:
                if len(members) == open_rows:
                    fullest = min(range(len(space)), key=lambda number: space[number])
                    rows.append(np.array(members.pop(fullest), np.int64))
                    space.pop(fullest)
                members.append([])
                space.append((self.row_tokens, self.target_tokens))
                best = len(members) - 1
            members[best].append(example)
            space[best] = (space[best][0] - length, space[best][1] - target)
        return rows + [np.array(row, np.int64) for row in members]


def clipped_lengths(examples: PackedExamples, row_tokens: int, target_tokens: int) -> tuple[Ids, Ids, int]:
    """Tokens of each text and of each target (0 where there is none) as far as they find room, and how many are cut."""
    lengths = examples.inputs.document_lengths()
    if examples.kind not in TWO_TEXTS or examples.targets is None:
        return np.minimum(lengths, row_tokens), np.zeros_like(lengths), int((lengths > row_tokens).sum())
    targets = examples.targets.document_lengths()
    cut = int(((lengths > row_tokens) | (targets > target_tokens)).sum())
    return np.minimum(lengths, row_tokens), np.minimum(targets, target_tokens), cut


def laid_out(
    shards: PackedExamples,
    rows: Sequence[Ids],
    lengths: Ids,
    target_lengths: Ids,
    *,
    row_tokens: int,
    target_tokens: int,
    places: int,
) -> ExampleBatch:
    """The batch whose rows hold these examples; `lengths` are those of all examples, as far as rows have room."""
    count = len(rows)
    inputs = np.full((count, row_tokens), shards.end_of_text_id, np.int64)
    segments = np.full((count, row_tokens), PADDING, np.int64)
    examples = np.full((count, places), -1, np.int64)
    places_BK = np.zeros((count, places), np.int64)
    tags = np.zeros_like(inputs) if shards.kind == "tags" else None
    pairs = shards.kind in TWO_TEXTS
    targets = np.full((count, target_tokens), shards.end_of_text_id, np.int64) if pairs else None
    target_segments = np.full((count, target_tokens), PADDING, np.int64) if pairs else None
    for row, members in enumerate(rows):
        start = target_start = 0
        for place, example in enumerate(members.tolist()):
            examples[row, place], places_BK[row, place] = example, start
            stop = start + int(lengths[example])
            _put(inputs[row, start:stop], shards.inputs, example)
            segments[row, start:stop] = place
            if tags is not None and shards.targets is not None:
                tags[row, start:stop] = shards.targets.document(example)[: stop - start]
            start = stop
            if targets is not None and target_segments is not None and shards.targets is not None:
                stop = target_start + int(target_lengths[example])
                _put(targets[row, target_start:stop], shards.targets, example)
                target_segments[row, target_start:stop] = place
                target_start = stop
    answers = None if shards.answers is None else np.asarray(shards.answers[np.maximum(examples, 0)])
    return ExampleBatch(inputs, segments, examples, places_BK, answers, tags, targets, target_segments)


def _put(into: Ids, shards: PackedTexts, example: int) -> None:
    """One example's ids, cut where there is no room, its end token kept."""
    ids = shards.document(example)
    into[:] = ids[: len(into)]
    into[-1] = ids[-1]


def row_tokens_of(longest: int, context: int) -> int:
    """Positions of a row that holds the longest example: a power of two, 128 at least, within the context.

    >>> row_tokens_of(60, 512), row_tokens_of(200, 512), row_tokens_of(3000, 512)
    (128, 256, 512)
    """
    return min(context, max(SMALLEST_ROW, 1 << (longest - 1).bit_length()))
