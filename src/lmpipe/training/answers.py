"""Objectives that learn from examples with an answer: classes, scores, tags, targets. Rows hold several examples.

B rows, T positions, K places for examples in a row, L labels, S positions of targets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lmpipe.base.errors import TrainingError
from lmpipe.models.layers.encoder_heads import at_places
from lmpipe.models.network import Encoder, EncoderDecoder, Network
from lmpipe.tokens.examples import ExampleShards
from lmpipe.tokens.loader import Ids
from lmpipe.tokens.packing import ExampleBatch
from lmpipe.training.contrastive import Contrastive
from lmpipe.training.objective_config import (
    ClassificationConfig,
    ContrastiveConfig,
    ObjectiveConfig,
    Seq2SeqConfig,
    TaggingConfig,
)
from lmpipe.training.objectives import IGNORED, Losses, Objective, token_losses


class ClassesBatch(NamedTuple):
    """Rows of texts to classify."""

    inputs_BT: NDArray[np.int64]
    segments_BT: NDArray[np.int64]
    places_BK: NDArray[np.int64]
    answers: NDArray[Any]
    """(B, K) numbers of classes, (B, K, L) zeros and ones, or (B, K) scores."""
    weights_BK: NDArray[np.float32]
    """How much each example counts; 0 where there is none."""


class Classification:
    """Classes of whole texts, or scores."""

    def __init__(self, config: ClassificationConfig, examples: ExampleShards) -> None:
        self.config, self.kind, self.several, self.labels = config, examples.kind, examples.several, len(examples.names)
        self.weights_L = class_weights(config, examples)

    def prepare(self, batch: ExampleBatch, position: int) -> ClassesBatch:
        """The batch, with what each example counts."""
        assert batch.answers is not None, "shards of labels and of scores have answers"
        there_BK = batch.examples_BK >= 0
        answers: NDArray[Any] = batch.answers.astype(np.float32 if self.several or self.kind == "scores" else np.int64)
        if self.several or self.kind == "scores":
            weights_BK = there_BK.astype(np.float32)
        else:
            weights_BK = np.where(there_BK & (answers >= 0), self.weights_L[np.maximum(answers, 0)], 0).astype(np.float32)
            answers = np.maximum(answers, 0)
        return ClassesBatch(batch.inputs_BT, batch.segments_BT, batch.places_BK, answers, weights_BK)

    def losses(self, network: Network, *part: Tensor) -> Losses:
        """Of one part."""
        ids_BT, segments_BT, places_BK, answers, weights_BK = part
        assert isinstance(network, Encoder), "check refuses other architectures"
        logits_BKL = at_places(network, ids_BT, segments_BT, places_BK).float()
        there_BK = (weights_BK > 0).float()
        if self.kind == "scores":
            errors_BK = (logits_BKL[..., 0] - answers).square()
            return Losses((errors_BK * weights_BK).sum(), (errors_BK * there_BK).sum())
        if self.several:
            nats_BK = F.binary_cross_entropy_with_logits(logits_BKL, answers, reduction="none").sum(-1)
            softened = answers * (1 - self.config.label_smoothing) + self.config.label_smoothing / 2
            weights_L = torch.as_tensor(self.weights_L, device=answers.device)
            smooth_BKL = F.binary_cross_entropy_with_logits(logits_BKL, softened, reduction="none", pos_weight=weights_L)
            right_BK = ((logits_BKL > 0) == (answers > 0)).all(-1).float()
            return Losses(
                (smooth_BKL.sum(-1) * there_BK).sum(), (nats_BK * there_BK).sum(), (right_BK * there_BK).sum().detach()
            )
        log_p_BKL = torch.log_softmax(logits_BKL, dim=-1)
        nats_BK = -log_p_BKL.gather(-1, answers[..., None])[..., 0]
        smooth_BK = (1 - self.config.label_smoothing) * nats_BK - self.config.label_smoothing * log_p_BKL.mean(-1)
        right_BK = (logits_BKL.argmax(-1) == answers).float()
        return Losses((smooth_BK * weights_BK).sum(), (nats_BK * there_BK).sum(), (right_BK * there_BK).sum().detach())

    def supervised(self, arrays: Sequence[NDArray[Any]]) -> int:
        """Examples that count."""
        return int((arrays[4] > 0).sum())

    def first_loss(self, network: Network) -> float | None:
        """Every class is as likely as any other."""
        if self.kind == "scores":
            return None
        return self.labels * math.log(2) if self.several else math.log(self.labels)


class TagsBatch(NamedTuple):
    """Rows of texts to tag."""

    inputs_BT: NDArray[np.int64]
    targets_BT: NDArray[np.int64]
    """Number of the tag at the first token of each word."""
    segments_BT: NDArray[np.int64]


class Tagging:
    """A tag for each word."""

    def __init__(self, config: TaggingConfig, examples: ExampleShards) -> None:
        self.config, self.labels = config, len(examples.names)

    def prepare(self, batch: ExampleBatch, position: int) -> TagsBatch:
        """The batch, nothing asked between the words' first tokens."""
        assert batch.tags_BT is not None, "shards of tags have them"
        return TagsBatch(batch.inputs_BT, np.where(batch.tags_BT > 0, batch.tags_BT - 1, IGNORED), batch.segments_BT)

    def losses(self, network: Network, *part: Tensor) -> Losses:
        """Of one part."""
        ids_BT, targets_BT, segments_BT = part
        logits_BTL = network(ids_BT, segments_BT).float()
        asked_BT = (targets_BT != IGNORED).float()
        log_p_BTL = torch.log_softmax(logits_BTL, dim=-1)
        nats_BT = -log_p_BTL.gather(-1, targets_BT.clamp(min=0)[..., None])[..., 0]
        smooth_BT = (1 - self.config.label_smoothing) * nats_BT - self.config.label_smoothing * log_p_BTL.mean(-1)
        right = ((logits_BTL.argmax(-1) == targets_BT).float() * asked_BT).sum()
        return Losses((smooth_BT * asked_BT).sum(), (nats_BT * asked_BT).sum(), right.detach())

    def supervised(self, arrays: Sequence[NDArray[Any]]) -> int:
        """Words that count."""
        return int((arrays[1] != IGNORED).sum())

    def first_loss(self, network: Network) -> float:
        """Every tag is as likely as any other."""
        return math.log(self.labels)


class PairsBatch(NamedTuple):
    """Rows of texts and of their targets."""

    sources_BT: NDArray[np.int64]
    source_segments_BT: NDArray[np.int64]
    inputs_BS: NDArray[np.int64]
    """What the decoder sees: the target before each position, the model's start token at the first one."""
    targets_BS: NDArray[np.int64]
    segments_BS: NDArray[np.int64]


class Seq2Seq:
    """The target of a text, token by token."""

    def __init__(self, config: Seq2SeqConfig, *, start_id: int) -> None:
        self.config, self.start_id = config, start_id

    def prepare(self, batch: ExampleBatch, position: int) -> PairsBatch:
        """The batch, with what the decoder sees."""
        assert batch.targets_BS is not None, "shards of pairs have targets"
        assert batch.target_segments_BS is not None
        return self.shifted(batch.inputs_BT, batch.segments_BT, batch.targets_BS, batch.target_segments_BS)

    def shifted(self, sources_BT: Ids, source_segments_BT: Ids, targets_BS: Ids, segments_BS: Ids) -> PairsBatch:
        """Sources and targets, with what the decoder sees before each target; padding counts for nothing."""
        inputs_BS = np.full_like(targets_BS, self.start_id)
        goes_on_BS = segments_BS[:, 1:] == segments_BS[:, :-1]
        inputs_BS[:, 1:] = np.where(goes_on_BS, targets_BS[:, :-1], self.start_id)
        asked_BS = np.where(segments_BS >= 0, targets_BS, IGNORED)
        return PairsBatch(sources_BT, source_segments_BT, inputs_BS, asked_BS, segments_BS)

    def losses(self, network: Network, *part: Tensor) -> Losses:
        """Of one part."""
        sources_BT, source_segments_BT, inputs_BS, targets_BS, segments_BS = part
        assert isinstance(network, EncoderDecoder), "check refuses other architectures"
        logits_BSV = network(sources_BT, inputs_BS, source_segments_BT, segments_BS)
        return token_losses(logits_BSV, targets_BS, self.config)

    def supervised(self, arrays: Sequence[NDArray[Any]]) -> int:
        """Target tokens."""
        return int((arrays[3] != IGNORED).sum())

    def first_loss(self, network: Network) -> float:
        """Every token is as likely as any other."""
        return math.log(network.vocab_size)


def objective_on_examples(config: ObjectiveConfig, examples: ExampleShards, network: Network) -> Objective:
    """The objective that `config` names, on these examples."""
    if isinstance(config, ClassificationConfig):
        return Classification(config, examples)
    if isinstance(config, TaggingConfig):
        return Tagging(config, examples)
    if isinstance(config, ContrastiveConfig):
        return Contrastive(config)
    assert isinstance(config, Seq2SeqConfig), "the schema pairs corpora with objectives"
    assert isinstance(network, EncoderDecoder), "check refuses other architectures"
    return Seq2Seq(config, start_id=network.start_id)


def class_weights(config: ClassificationConfig, examples: ExampleShards) -> NDArray[np.float32]:
    """What an example of each class counts, shape (L,).

    Raises:
        TrainingError: when the recipe names a class that the training side does not have.
    """
    weights = np.ones(max(1, len(examples.names)), np.float32)
    if config.class_weights == "balanced" and examples.answers is not None and examples.kind == "labels":
        answers = np.asarray(examples.answers)
        counts = answers.sum(0) if examples.several else np.bincount(answers[answers >= 0], minlength=len(examples.names))
        weights = (len(answers) / (len(examples.names) * np.maximum(counts, 1))).astype(np.float32)
    if isinstance(config.class_weights, dict):
        unknown = sorted(set(config.class_weights) - set(examples.names))
        if unknown:
            raise TrainingError(
                f"class_weights names '{unknown[0]}', which no training example has",
                where="objective.class_weights",
                expected=", ".join(examples.names[:30]),
            )
        for number, name in enumerate(examples.names):
            weights[number] = config.class_weights.get(name, 1.0)
    return weights
