"""Learns which passage belongs to which query: every pair of a batch against all others of it (`ContrastiveConfig`).

    queries    [ q0 | q1 | q2 | padding ]      cosine of every query with every passage, over the temperature;
    passages   [ p0 | p1 | p2 | padding ]      -ln of the right one's share, from either side, in the mean

That is InfoNCE (van den Oord et al. 2018) with in-batch negatives (Karpukhin et al. 2020), both ways as in CLIP (Radford et al.
2021). B rows, T positions (S of passages), K places for texts in a row, N = B K.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmpipe.models.layers.encoder_heads import embeddings
from lmpipe.models.network import Encoder, Network
from lmpipe.tokens.loader import Ids
from lmpipe.tokens.packing import ExampleBatch
from lmpipe.training.objective_config import ContrastiveConfig
from lmpipe.training.objectives import Losses


class MatchesBatch(NamedTuple):
    """Rows of queries and of their passages."""

    queries_BT: Ids
    query_segments_BT: Ids
    passages_BS: Ids
    passage_segments_BS: Ids
    query_numbers_BK: Ids
    """Equal for equal queries of the batch; -1 where there is none."""
    passage_numbers_BK: Ids
    """Equal for equal passages of the batch; -1 where there is none."""


class Contrastive:
    """The right passage among all of a batch, and the right query."""

    def __init__(self, config: ContrastiveConfig) -> None:
        self.config = config

    def prepare(self, batch: ExampleBatch, position: int) -> MatchesBatch:
        """The batch, and which of its texts are the same."""
        assert batch.targets_BS is not None, "shards of matches have two texts to an example"
        assert batch.target_segments_BS is not None
        there_BK = batch.examples_BK >= 0
        return MatchesBatch(
            batch.inputs_BT,
            batch.segments_BT,
            batch.targets_BS,
            batch.target_segments_BS,
            _numbered(batch.inputs_BT, batch.segments_BT, there_BK),
            _numbered(batch.targets_BS, batch.target_segments_BS, there_BK),
        )

    def losses(self, network: Network, *part: Tensor) -> Losses:
        """Of a batch; of a part of one, among the pairs of that part."""
        queries_BT, query_segments_BT, passages_BS, passage_segments_BS, query_numbers_BK, passage_numbers_BK = part
        assert isinstance(network, Encoder), "check refuses other architectures"
        places = query_numbers_BK.shape[1]
        queries_NC = embeddings(network, queries_BT, query_segments_BT, places).flatten(0, 1)
        passages_NC = embeddings(network, passages_BS, passage_segments_BS, places).flatten(0, 1)
        return match_losses(
            queries_NC, passages_NC, query_numbers_BK.flatten(), passage_numbers_BK.flatten(), self.config.temperature
        )

    def supervised(self, arrays: Sequence[NDArray[Any]]) -> int:
        """Pairs."""
        return int((arrays[4] >= 0).sum())

    def first_loss(self, network: Network) -> None:
        """How near each other the texts of a batch are to a fresh network is not known."""
        return


def match_losses(
    queries_NC: Tensor, passages_NC: Tensor, query_numbers_N: Tensor, passage_numbers_N: Tensor, temperature: float
) -> Losses:
    """Of N pairs of vectors of length 1; those with the number -1 are not there.

    A text that equals another one of its side is not held against the other's partner: both partners are right.
    """
    there_N = (query_numbers_N >= 0).float()
    same_NN = (query_numbers_N[:, None] == query_numbers_N) | (passage_numbers_N[:, None] == passage_numbers_N)
    left_out_NN = (same_NN | (query_numbers_N < 0)) & ~torch.eye(len(there_N), dtype=torch.bool, device=there_N.device)
    all_NN = queries_NC @ passages_NC.T / temperature
    own_N = (queries_NC * passages_NC).sum(1) / temperature  # the diagonal, which torch's compiler warns of
    scores_NN, backward_NN = (each_NN.masked_fill(left_out_NN, -torch.inf) for each_NN in (all_NN, all_NN.T))
    nats_N = (torch.logsumexp(scores_NN, 1) + torch.logsumexp(backward_NN, 1)) / 2 - own_N
    nats = (nats_N * there_N).sum()
    found = ((scores_NN.argmax(1) == torch.arange(len(there_N), device=there_N.device)).float() * there_N).sum()
    return Losses(nats, nats, found.detach())


def _numbered(ids_BT: Ids, segments_BT: Ids, there_BK: NDArray[np.bool_]) -> Ids:
    """A number for each text of a batch, the same one for the same text; -1 where there is none."""
    known: dict[bytes, int] = {}
    numbers_BK = np.full(there_BK.shape, -1, np.int64)
    for row, place in zip(*np.nonzero(there_BK), strict=True):
        text = ids_BT[row, segments_BT[row] == place].tobytes()
        numbers_BK[row, place] = known.setdefault(text, len(known))
    return numbers_BK
