"""From a config to its objective on rows of text."""

from __future__ import annotations

from typing import Any

from lmpipe.models.network import Network
from lmpipe.tokens.shards import TokenShards
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.word_borders import WordBorders, word_borders
from lmpipe.training.denoising import span_corruption
from lmpipe.training.distillation import distillation
from lmpipe.training.distillation_config import DistillationConfig
from lmpipe.training.materials import Materials
from lmpipe.training.objective_config import MaskedConfig, ObjectiveConfig, SpanCorruptionConfig
from lmpipe.training.objectives import Objective, make_objective


def objective_on_text(
    config: ObjectiveConfig,
    shards: TokenShards,
    network: Network,
    *,
    context: int,
    seed: int,
    precision: str,
    materials: Materials,
) -> Objective:
    """The objective that `config` names.

    Args:
        config: what is learned.
        shards: the training side, for what its header says of the tokenizer.
        network: that learns.
        context: tokens of a row.
        seed: of every random choice.
        precision: of training, which a teacher computes in, too.
        materials: what some objectives need beside tokens.

    Raises:
        ModelError: when the tokenizer lacks a token that the objective needs, or a teacher does not fit.
    """
    if isinstance(config, SpanCorruptionConfig):
        return span_corruption(config, shards, network, context=context, seed=seed)
    if isinstance(config, DistillationConfig):
        assert materials.teacher is not None, "recipes hand in the teacher"
        assert materials.tokenizer is not None, "and the tokenizer"
        options: Any = {"teacher": materials.teacher, "tokenizer": materials.tokenizer, "context": context}
        return distillation(config, network, precision=precision, **options)
    words = _words(config, materials)
    return make_objective(config, vocab_size=shards.vocab_size, controls=shards.controls, seed=seed, words=words)


def _words(config: ObjectiveConfig, materials: Materials) -> WordBorders | None:
    if not (isinstance(config, MaskedConfig) and config.whole_words):
        return None
    assert materials.tokenizer is not None, "recipes hand in the tokenizer of an objective that needs it"
    return word_borders(load_tokenizer(materials.tokenizer))
