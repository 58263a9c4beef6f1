"""Streams documents through a model and keeps four sums per unit: nothing that grows with the text stays in memory.

Legend of shape suffixes: B windows in a batch, T positions, V vocabulary, S scored positions, U units.

The network's own precision is the caller's; from the logits on, a token's nats are taken in float32 and summed in float64, in a
fixed order, so that equal runtimes give equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from lmpipe.base.errors import ModelError
from lmpipe.base.progress import Progress
from lmpipe.evaluation.bootstrap import Floats
from lmpipe.evaluation.units import Documents, Integers, Units
from lmpipe.models.api import Scorer
from lmpipe.models.passes import positions_at_once
from lmpipe.tokens.loader import Window

Decoder = Callable[[torch.Tensor], torch.Tensor]
"""ids_BT (int64) -> logits_BTV: position t sees positions 0..t of its own row and nothing else."""

BATCHES_SORTED_TOGETHER = 16
"""Windows of about this many batches are sorted by length before they are padded: little padding, and little memory."""


@dataclass(frozen=True)
class Scores:
    """Nats and right guesses per unit."""

    nats_U: Floats
    correct_U: Integers


class _Placed(NamedTuple):
    window: Window
    position: int
    """Where in its document the first scored target stands."""


def score_windows(
    decoder: Decoder,
    windows: Iterable[Window],
    units: Units,
    *,
    device: torch.device,
    progress: Progress,
    tokens_at_once: int | None = None,
) -> Scores:
    """Sum the nats and right guesses of every scored target of every window.

    Args:
        decoder: gives logits for padded rows of one window each.
        windows: of one document after another, each document's in order and together.
        units: where sums go.
        device: where the decoder is.
        progress: told scored tokens after each batch.
        tokens_at_once: padded tokens in a batch, at most (one window at least); None: what suits the device.

    Raises:
        ModelError: when a token's probability is zero or not a number.
    """
    nats_U, correct_U = np.zeros(len(units.tokens_U)), np.zeros(len(units.tokens_U), dtype=np.int64)
    total, done = int(units.tokens_U.sum()), 0
    for batch in _batches(windows, tokens_at_once or positions_at_once(device.type)):
        inputs_BT, targets_BT, unit_BT = _fill(batch, units)
        scored_BT = unit_BT >= 0
        nats_S, correct_S = _score(decoder, inputs_BT, targets_BT, scored_BT, device)
        np.add.at(nats_U, unit_BT[scored_BT], nats_S)
        np.add.at(correct_U, unit_BT[scored_BT], correct_S)
        done += len(nats_S)
        progress.update(done, total, "tokens")
    _check_finite(nats_U, units)
    return Scores(nats_U, correct_U)


def _batches(windows: Iterable[Window], tokens_at_once: int) -> Iterator[list[_Placed]]:
    pool: list[_Placed] = []
    pooled = 0
    for placed in _placed(windows):
        pool.append(placed)
        pooled += len(placed.window.inputs)
        if pooled >= BATCHES_SORTED_TOGETHER * tokens_at_once:
            yield from _padded_alike(pool, tokens_at_once)
            pool, pooled = [], 0
    yield from _padded_alike(pool, tokens_at_once)


def _placed(windows: Iterable[Window]) -> Iterator[_Placed]:
    document = position = -1
    for window in windows:
        position = position if window.document == document else 0
        document = window.document
        yield _Placed(window, position)
        position += len(window.targets) - window.score_from


def _padded_alike(pool: list[_Placed], tokens_at_once: int) -> Iterator[list[_Placed]]:
    longest_first = sorted(pool, key=lambda placed: -len(placed.window.inputs))
    start = 0
    while start < len(longest_first):
        rows = max(1, tokens_at_once // len(longest_first[start].window.inputs))
        yield longest_first[start : start + rows]
        start += rows


def _fill(batch: list[_Placed], units: Units) -> tuple[Integers, Integers, Integers]:
    """Inputs, targets, and the unit of each scored target (-1: not scored). Padding stands on the right, where a causal model's
    predictions cannot see it."""
    shape = (len(batch), len(batch[0].window.inputs))
    inputs_BT, targets_BT = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    unit_BT = np.full(shape, -1, dtype=np.int64)
    for row, (window, position) in enumerate(batch):
        length = len(window.inputs)
        inputs_BT[row, :length], targets_BT[row, :length] = window.inputs, window.targets
        positions = np.arange(position, position + length - window.score_from)
        unit_BT[row, window.score_from : length] = units.of(np.full_like(positions, window.document), positions)
    return inputs_BT, targets_BT, unit_BT


@torch.inference_mode()
def _score(
    decoder: Decoder, inputs_BT: Integers, targets_BT: Integers, scored_BT: npt.NDArray[np.bool_], device: torch.device
) -> tuple[Floats, Integers]:
    logits_BTV = decoder(torch.from_numpy(inputs_BT).to(device))
    scored = torch.from_numpy(scored_BT).to(device)
    logits_SV = logits_BTV[scored].float()
    targets_S = torch.from_numpy(targets_BT).to(device)[scored]
    nats_S = torch.nn.functional.cross_entropy(logits_SV, targets_S, reduction="none")
    correct_S = logits_SV.argmax(dim=-1) == targets_S
    return nats_S.double().cpu().numpy(), correct_S.long().cpu().numpy()


def score_scorer(scorer: Scorer, documents: Documents, units: Units, *, progress: Progress) -> Floats:
    """Nats per unit of any model that satisfies the `Scorer` protocol, document by document.

    Raises:
        ModelError: when a token's probability is zero or not a number.
    """
    nats_U = np.zeros(len(units.tokens_U))
    for document in range(documents.documents):
        log_probabilities = scorer.log_probabilities(documents.document(document))
        position = np.arange(len(log_probabilities), dtype=np.int64)
        np.add.at(nats_U, units.of(np.full_like(position, document), position), -log_probabilities.astype(np.float64))
        progress.update(document + 1, documents.documents, "documents")
    _check_finite(nats_U, units)
    return nats_U


def _check_finite(nats_U: Floats, units: Units) -> None:
    bad = np.flatnonzero(~np.isfinite(nats_U))
    if len(bad):
        raise ModelError(
            f"the model gives document {int(units.document_U[bad[0]])} a probability that is zero or not a number",
            expected="finite logits for every token",
            fix="train with a lower learning rate, or check that these weights belong to this model configuration",
        )
