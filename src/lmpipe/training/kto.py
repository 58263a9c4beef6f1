"""KTO (Ethayarajh et al. 2024): answers that are desirable or not, each by itself, measured from how far the model has moved.

    r = ln p(answer) - ln p0(answer)             z = max(0, mean of r over prompts with answers to other prompts), a constant
    desirable   weight x (1 - s(beta (r - z)))   undesirable   weight x (1 - s(beta (z - r)))       s(x) = 1 / (1 + exp(-x))

z is one number for the whole batch, taken before its parts are learned, so parts still add up to the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lmpipe.models.network import Network
from lmpipe.tokens.loader import Ids
from lmpipe.training.preference_config import KtoConfig

MISMATCHED_AT_ONCE = 16


class Said(NamedTuple):
    """A prompt and an answer, as ids; the prompt with what opens it."""

    prompt: Ids
    answer: Ids


def kto_losses(config: KtoConfig, log_p_B2K: Tensor, reference_B2K: Tensor, divergence_B: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each answer, and how far it lies on its right side of `divergence_B`, both (B, 2, K)."""
    weights_2 = log_p_B2K.new_tensor([config.desirable_weight, config.undesirable_weight])
    signs_2 = log_p_B2K.new_tensor([1.0, -1.0])
    gains_B2K = signs_2[:, None] * (log_p_B2K - reference_B2K - divergence_B[:, None, None])
    return weights_2[:, None] * (1 - torch.sigmoid(config.beta * gains_B2K)), gains_B2K


def mismatched(said: Sequence[Said]) -> list[Said]:
    """Every prompt with the answer to the next one.

    >>> [tuple(pair) for pair in mismatched([Said("a", "1"), Said("b", "2"), Said("c", "3")])]
    [('a', '2'), ('b', '3'), ('c', '1')]
    """
    return [Said(one.prompt, other.answer) for one, other in zip(said, [*said[1:], *said[:1]], strict=True)]


@torch.no_grad()
def divergence(network: Network, reference: Network, said: Sequence[Said], row_tokens: int) -> float:
    """z: by how much the network, dropout off, likes other prompts' answers better than the reference does; 0 where not.

    Args:
        network: that learns.
        reference: as it was at the start.
        said: prompts and their own answers.
        row_tokens: of what is longer the end is cut off.
    """
    pairs = mismatched(said)
    if len(said) < 2:
        return 0.0
    was_training, total = network.training, 0.0
    network.eval()
    for first in range(0, len(pairs), MISMATCHED_AT_ONCE):
        some = pairs[first : first + MISMATCHED_AT_ONCE]
        total += float((_answer_sums(network, some, row_tokens) - _answer_sums(reference, some, row_tokens)).sum())
    network.train(was_training)
    return max(0.0, total / len(pairs))


def _answer_sums(network: Network, pairs: Sequence[Said], row_tokens: int) -> Tensor:
    """ln p of each answer after its prompt, a row for each."""
    wholes = [np.concatenate([pair.prompt, pair.answer])[:row_tokens] for pair in pairs]
    width = max(map(len, wholes))
    ids_NT: NDArray[Any] = np.zeros((len(pairs), width), np.int64)
    segments_NT, asked_NT = np.full_like(ids_NT, 1), np.zeros(ids_NT.shape, np.bool_)
    for row, (whole, pair) in enumerate(zip(wholes, pairs, strict=True)):
        ids_NT[row, : len(whole)], segments_NT[row, : len(whole)] = whole, 0
        asked_NT[row, len(pair.prompt) : len(whole)] = True
    device = next(network.parameters()).device
    ids, segments, asked = (torch.from_numpy(array).to(device) for array in (ids_NT, segments_NT, asked_NT))
    logits = network(ids, segments)[:, :-1]
    nats = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none").view(len(pairs), -1)
    return -(nats * asked[:, 1:]).sum(1)
