"""Learns from preferences: of two answers to a prompt, one was liked better (DPO and its kin; `preference_config.py`), or of
single ones which were liked (`kto.py`).

    pair 0    row of preferred answers    <open> prompt answer | ...    the same places in both rows, so that a part of a
              row of rejected answers     <open> prompt other  | ...    batch has both answers to every prompt in it

The reference is the network as it was when the phase began: a frozen copy, so a resumed run has the same one; with an adapter
it is the base. B rows of pairs, T positions, K places for examples in a row.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lmpipe.models.network import Network
from lmpipe.tokens.loader import Ids
from lmpipe.tokens.packing import PADDING, ExampleBatch
from lmpipe.training.kto import Said, divergence, kto_losses
from lmpipe.training.objectives import IGNORED, Losses
from lmpipe.training.optimizers import NARROW
from lmpipe.training.preference_config import (
    DpoConfig,
    IpoConfig,
    KtoConfig,
    OrpoConfig,
    PreferenceConfig,
    PreferenceLoss,
)


class PreferenceBatch(NamedTuple):
    """Rows of pairs; of axis 1, the first is preferred."""

    inputs_B2T: Ids
    targets_B2T: Ids
    """The next token of an answer; nothing is asked of prompts."""
    segments_B2T: Ids
    lengths_B2K: NDArray[np.float32]
    """Tokens of each answer; 0 where there is no example."""
    reference_B2K: NDArray[np.float32]
    """ln p of each answer by the reference; 0 where the loss needs none."""
    divergence_B: NDArray[np.float32]
    """How far the network has moved, the same number for all rows; 0 where the loss does not ask."""


class Preference:
    """The preferred answer over the rejected one."""

    def __init__(self, config: PreferenceConfig, network: Network, precision: str) -> None:
        """Keep a copy of `network`, which is about to learn, where the loss asks for one; it computes as training does."""
        self.config, self.network, self.reference = config, network, None
        if config.loss.needs_reference:
            self.reference = frozen_copy(network, precision)

    def prepare(self, batch: ExampleBatch, position: int) -> PreferenceBatch:
        """Both answers of every example, and what the reference thinks of them."""
        assert batch.targets_BS is not None, "shards of preferences have two texts to an example"
        assert batch.target_segments_BS is not None
        assert batch.answers is not None, "and the lengths of prompts"
        inputs_B2T = np.stack([batch.inputs_BT, batch.targets_BS], axis=1)
        segments_B2T = np.stack([batch.segments_BT, batch.target_segments_BS], axis=1)
        prompts_BK = np.where(batch.examples_BK >= 0, batch.answers, 0)
        targets_B2T = _answer_targets(inputs_B2T, segments_B2T, prompts_BK)
        places = prompts_BK.shape[1]
        asked_B2T = (targets_B2T != IGNORED)[..., None] & (segments_B2T[..., None] == np.arange(places))
        lengths_B2K = asked_B2T.sum(2).astype(np.float32)
        moved_B = np.zeros(len(inputs_B2T), np.float32)
        found = PreferenceBatch(inputs_B2T, targets_B2T, segments_B2T, lengths_B2K, np.zeros_like(lengths_B2K), moved_B)
        if self.reference is None:
            return found
        if isinstance(self.config.loss, KtoConfig):
            moved_B[:] = divergence(self.network, self.reference, said_in(found), inputs_B2T.shape[-1])
        return found._replace(reference_B2K=self._referred(self.reference, found))

    def _referred(self, reference: Network, batch: PreferenceBatch) -> NDArray[np.float32]:
        device, rows = next(reference.parameters()).device, []
        with torch.no_grad():
            for row in range(len(batch.inputs_B2T)):  # one row of pairs at once: memory does not follow the batch
                arrays = (array[row : row + 1] for array in batch[:3])
                ids, targets, segments = (torch.from_numpy(array).to(device) for array in arrays)
                found = answer_log_probabilities(reference, ids, targets, segments, batch.lengths_B2K.shape[-1])
                rows.append(found.cpu().numpy())
        return np.concatenate(rows)

    def losses(self, network: Network, *part: Tensor) -> Losses:
        """Of one part."""
        ids_B2T, targets_B2T, segments_B2T, lengths_B2K, reference_B2K, divergence_B = part
        log_p_B2K = answer_log_probabilities(network, ids_B2T, targets_B2T, segments_B2T, lengths_B2K.shape[-1])
        if isinstance(self.config.loss, KtoConfig):
            there_B2K = (lengths_B2K > 0).float()
            losses_B2K, gains_B2K = kto_losses(self.config.loss, log_p_B2K, reference_B2K, divergence_B)
            total, right = (losses_B2K * there_B2K).sum(), ((gains_B2K > 0).float() * there_B2K).sum().detach()
            moved = (divergence_B[:, None, None] * there_B2K).sum()
            return Losses(total, total, right, {"divergence": moved, "reward_accuracy": right})
        there_BK = (lengths_B2K > 0).all(1).float()
        losses_BK, rewards_B2K = preference_losses(self.config.loss, log_p_B2K, reference_B2K, lengths_B2K.clamp(min=1))
        total = (losses_BK * there_BK).sum()
        margins_BK = (rewards_B2K[:, 0] - rewards_B2K[:, 1]).detach()
        right = ((margins_BK > 0).float() * there_BK).sum()
        measured = {"reward_margin": (margins_BK * there_BK).sum(), "reward_accuracy": right}
        return Losses(total, total, right, measured)

    def supervised(self, arrays: Sequence[NDArray[Any]]) -> int:
        """Pairs of answers; of kto answers."""
        there_B2K = arrays[3] > 0
        return int(there_B2K.sum() if isinstance(self.config.loss, KtoConfig) else there_B2K.all(1).sum())

    def first_loss(self, network: Network) -> float | None:
        """At the start there is no difference to the reference."""
        if isinstance(self.config.loss, KtoConfig):
            weights = {self.config.loss.desirable_weight, self.config.loss.undesirable_weight}
            return weights.pop() / 2 if len(weights) == 1 else None
        return math.log(2) if isinstance(self.config.loss, DpoConfig) else None

    @property
    def follows_weights(self) -> bool:
        """Whether what `prepare` gives depends on how far the network is."""
        return isinstance(self.config.loss, KtoConfig)


def frozen_copy(network: Network, precision: str) -> Network:
    """A network that stays as this one is, and predicts."""
    copied = copy.deepcopy(network).requires_grad_(False).eval()
    return copied.to(NARROW[precision]) if precision in NARROW else copied


def answer_log_probabilities(
    network: Network, ids_B2T: Tensor, targets_B2T: Tensor, segments_B2T: Tensor, places: int
) -> Tensor:
    """ln p of each answer, its tokens added up, in fp32: (B, 2, K)."""
    logits = network(ids_B2T.flatten(0, 1), segments_B2T.flatten(0, 1))
    nats = F.cross_entropy(logits.flatten(0, 1).float(), targets_B2T.flatten(), ignore_index=IGNORED, reduction="none")
    segments_B2T = torch.where(segments_B2T < 0, places, segments_B2T)  # padding goes to a place of its own
    sums = nats.new_zeros(*ids_B2T.shape[:2], places + 1).scatter_add(-1, segments_B2T, -nats.view(ids_B2T.shape))
    return sums[..., :places]


def preference_losses(
    config: PreferenceLoss, log_p_B2K: Tensor, reference_B2K: Tensor, lengths_B2K: Tensor
) -> tuple[Tensor, Tensor]:
    """The loss of each pair (B, K), and the reward of each answer (B, 2, K), which grows for the preferred one."""
    if isinstance(config, DpoConfig | IpoConfig):
        rewards_B2K = config.beta * (log_p_B2K - reference_B2K)
        margins_BK = rewards_B2K[:, 0] - rewards_B2K[:, 1]
        if isinstance(config, IpoConfig):
            return (margins_BK / config.beta - 1 / (2 * config.beta)).square(), rewards_B2K
        wrong = config.label_smoothing
        return -(1 - wrong) * F.logsigmoid(margins_BK) - wrong * F.logsigmoid(-margins_BK), rewards_B2K
    assert not isinstance(config, KtoConfig), "which compares no two answers: kto_losses"
    means_B2K = log_p_B2K / lengths_B2K
    if isinstance(config, OrpoConfig):
        odds_B2K = means_B2K - torch.log(-torch.expm1(means_B2K.clamp(max=-1e-6)))
        preference_BK = -F.logsigmoid(odds_B2K[:, 0] - odds_B2K[:, 1])
        return -means_B2K[:, 0] + config.weight * preference_BK, config.weight * means_B2K
    rewards_B2K = config.beta * means_B2K
    return -F.logsigmoid(rewards_B2K[:, 0] - rewards_B2K[:, 1] - config.margin), rewards_B2K


def said_in(batch: PreferenceBatch) -> list[Said]:
    """Every prompt with each of its answers that there is, in the order of rows and places."""
    found = []
    for inputs_2T, targets_2T, segments_2T, lengths_2K in zip(*batch[:4], strict=True):
        for place in range(lengths_2K.shape[1]):
            for ids_T, next_T, segments_T, answer in zip(inputs_2T, targets_2T, segments_2T, lengths_2K[:, place], strict=True):
                if answer:
                    text, asked = ids_T[segments_T == place], next_T[segments_T == place]
                    found.append(Said(text[: len(text) - int(answer)], asked[asked != IGNORED]))
    return found


def _answer_targets(inputs_B2T: Ids, segments_B2T: Ids, prompts_BK: Ids) -> Ids:
    """The token after each position where that belongs to an answer: not before the last token of a prompt, nor at the end."""
    targets_B2T = np.full_like(inputs_B2T, IGNORED)
    positions = np.arange(inputs_B2T.shape[-1])
    begins = np.diff(segments_B2T, axis=-1, prepend=PADDING - 1) != 0
    within_B2T = positions - np.maximum.accumulate(np.where(begins, positions, 0), axis=-1)
    prompts_B2T = np.take_along_axis(np.repeat(prompts_BK[:, None], 2, axis=1), np.maximum(segments_B2T, 0), axis=-1)
    asked = (segments_B2T[..., :-1] == segments_B2T[..., 1:]) & (segments_B2T[..., :-1] != PADDING)
    asked &= within_B2T[..., :-1] >= prompts_B2T[..., :-1] - 1
    targets_B2T[..., :-1] = np.where(asked, inputs_B2T[..., 1:], IGNORED)
    return targets_B2T
