"""Vectors of whole texts by an encoder: texts of like length together, cut at the context."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmpipe.models.layers.encoder_heads import embeddings
from lmpipe.models.network import Encoder
from lmpipe.models.passes import positions_at_once


def embed_ids(
    network: Encoder, rows: Sequence[Sequence[int]], *, end_id: int, told: Callable[[int], None] | None = None
) -> NDArray[np.float32]:
    """One vector of length 1 for each text, shape (texts, width).

    Args:
        network: with a head that pools, or with any other, which counts for nothing: then it is the mean of the hidden states.
        rows: the ids of each text, with what opens and closes it.
        end_id: closes a text that is cut.
        told: how many texts are done.
    """
    found = np.zeros((len(rows), int(network.config.width)), np.float32)
    device, done = next(network.parameters()).device, 0
    for numbers, ids_BT, segments_BT in padded(rows, network.context_length, end_id, positions_at_once(device.type)):
        with torch.inference_mode():
            vectors_B1C = embeddings(network, ids_BT.to(device), segments_BT.to(device), 1)
        found[numbers] = vectors_B1C[:, 0].cpu().numpy()
        done += len(numbers)
        if told:
            told(done)
    return found


def padded(
    rows: Sequence[Sequence[int]], context: int, end_id: int, at_once: int
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Texts of like length together, `at_once` positions at most (one text at least): their numbers, ids (B, T), and segments
    (B, T): 0, and -1 for padding."""
    cut = [row if len(row) <= context else [*row[: context - 1], end_id] for row in rows]
    waiting = sorted(range(len(cut)), key=lambda number: -len(cut[number]))
    while waiting:
        width = len(cut[waiting[0]])
        count = max(1, at_once // width)
        numbers, waiting = waiting[:count], waiting[count:]
        ids = torch.full((len(numbers), width), end_id, dtype=torch.long)
        segments = torch.full((len(numbers), width), -1, dtype=torch.long)
        for row, number in enumerate(numbers):
            ids[row, : len(cut[number])] = torch.tensor(cut[number])
            segments[row, : len(cut[number])] = 0
        yield numbers, ids, segments
