"""Streams documents through a model and keeps four sums per unit: nothing that grows with the text stays in memory.

Legend of shape suffixes: B windows in a batch, T positions, V vocabulary, S scored positions, U units.

The network's own precision is the caller's; from the logits on, a token's nats are taken in float32 and summed in float64, in a
fixed order, so that equal runtimes give equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lmpipe.base.errors import ModelError
from lmpipe.base.progress import Progress
from lmpipe.evaluation.bootstrap import Floats
from lmpipe.evaluation.units import Documents, Units
from lmpipe.evaluation.windows import Integers, Windows, plan_windows
from lmpipe.models.api import Scorer

Decoder = Callable[[torch.Tensor], torch.Tensor]
"""ids_BT (int64) -> logits_BTV: position t sees positions 0..t of its own row and nothing else."""

TOKENS_AT_ONCE = 4096
"""Padded tokens in one forward pass: with a vocabulary of 4096 the logits of a pass stay below 70 MB."""


@dataclass(frozen=True)
class Scores:
    """Nats and right guesses per unit."""

    nats_U: Floats
    correct_U: Integers


def score_decoder(
    decoder: Decoder,
    documents: Documents,
    units: Units,
    *,
    context_length: int,
    stride: int,
    end_of_text_id: int,
    device: torch.device,
    progress: Progress,
    tokens_at_once: int = TOKENS_AT_ONCE,
) -> Scores:
    """Score every token of every document once.

    Raises:
        ModelError: when a token's probability is not a number.
    """
    tokens_D = np.bincount(units.document_U, weights=units.tokens_U).astype(np.int64)
    windows = plan_windows(tokens_D, context_length=context_length, stride=stride)
    nats_U, correct_U = np.zeros(len(units.tokens_U)), np.zeros(len(units.tokens_U), dtype=np.int64)
    total, done = int(windows.length_W.sum()), 0
    for batch in windows.batches(tokens_at_once):
        inputs_BT, targets_BT, scored_BT = _fill(documents, windows, batch, end_of_text_id)
        nats_S, correct_S = _score(decoder, inputs_BT, targets_BT, scored_BT, device)
        row_S, column_S = np.nonzero(scored_BT)
        unit_S = units.of(windows.document_W[batch][row_S], windows.start_W[batch][row_S] + column_S)
        np.add.at(nats_U, unit_S, nats_S)
        np.add.at(correct_U, unit_S, correct_S)
        done += int(windows.length_W[batch].sum())
        progress.update(done, total, "tokens")
    _check_finite(nats_U, units)
    return Scores(nats_U, correct_U)


def _fill(
    documents: Documents, windows: Windows, batch: slice, end_of_text_id: int
) -> tuple[Integers, Integers, npt.NDArray[np.bool_]]:
    """Inputs, targets and which targets count; padding stands on the right, where a causal model cannot see it."""
    shape = (batch.stop - batch.start, int(windows.length_W[batch.start]))
    inputs_BT, targets_BT = np.full(shape, end_of_text_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    scored_BT = np.zeros(shape, dtype=np.bool_)
    for row, window in enumerate(range(batch.start, batch.stop)):
        start, length = int(windows.start_W[window]), int(windows.length_W[window])
        ids = documents.document(int(windows.document_W[window]))
        targets_BT[row, :length] = ids[start : start + length]
        inputs_BT[row, 1:length] = ids[start : start + length - 1]
        if start > 0:
            inputs_BT[row, 0] = ids[start - 1]
        scored_BT[row, int(windows.skip_W[window]) : length] = True
    return inputs_BT, targets_BT, scored_BT


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
