"""Lessons whose texts stand by themselves: examples with answers, preferences, and conversations by length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import TrainingError
from lmpipe.base.progress import Progress
from lmpipe.models.config import ModelConfig
from lmpipe.models.heads import EmbeddingHead, Head, LanguageHead, SequenceHead, TokenHead
from lmpipe.tokens.bucketing import BucketedLoader, BucketedTexts
from lmpipe.tokens.examples import ExampleShards
from lmpipe.tokens.packing import PackedExamples, PackedLoader, row_tokens_of
from lmpipe.tokens.preferences import PreferenceShards
from lmpipe.tokens.shards import TokenShards, open_shards
from lmpipe.training.answers import objective_on_examples
from lmpipe.training.config import PhaseConfig, batching
from lmpipe.training.grpo import HeldOutAnswers
from lmpipe.training.lesson import Lessons
from lmpipe.training.objective_config import ContrastiveConfig, Seq2SeqConfig
from lmpipe.training.objectives import Objective, make_objective
from lmpipe.training.preference_config import PreferenceConfig
from lmpipe.training.preferences import Preference

SCORE = "score"
"""The one label of a model that gives numbers."""


def example_lessons(tokens: Path, model: ModelConfig, phase: PhaseConfig, seed: int, progress: Progress) -> Lessons:
    """Examples with an answer, several to a row."""
    examples, held_out, row_tokens, target_tokens = _opened(tokens, model, phase)

    def loader(rows: int) -> PackedLoader:
        return PackedLoader(examples, row_tokens=row_tokens, batch_size=rows, seed=seed, target_tokens=target_tokens)

    plan = batching(phase, row_tokens, lambda rows: loader(rows).batches(phase.epochs or 0))
    training = loader(plan.rows)
    _tell_cut(training.cut, len(examples), "training examples", progress)
    if phase.objective.whole_batches:
        _check_pairs(phase, len(examples) / training.batches(1))
    return Lessons(
        training,
        plan,
        _head(examples, phase),
        examples.vocab_size,
        examples.end_of_text_id,
        lambda network: objective_on_examples(phase.objective, examples, network),
        lambda objective: _held_out(held_out, training, objective, plan.micro_rows, phase.validation.tokens),
    )


def bucketed_lessons(tokens: Path, model: ModelConfig, phase: PhaseConfig, seed: int, progress: Progress) -> Lessons:
    """Examples with an answer, by length, one to a row."""
    examples, held_out, row_tokens, target_tokens = _opened(tokens, model, phase)

    def loader(side: ExampleShards, batch_tokens: int, seed: int = seed) -> BucketedLoader:
        sizes = {"row_tokens": row_tokens, "batch_tokens": batch_tokens}
        return BucketedLoader(side, seed=seed, target_tokens=target_tokens, **sizes)

    plan = batching(phase, row_tokens, lambda rows: loader(examples, rows * row_tokens).batches(phase.epochs or 0))
    training = loader(examples, plan.tokens_per_step)
    _tell_cut(training.cut, len(examples), "training examples", progress)
    return Lessons(
        training,
        plan,
        _head(examples, phase),
        examples.vocab_size,
        examples.end_of_text_id,
        lambda network: objective_on_examples(phase.objective, examples, network),
        lambda objective: _watched(loader(held_out, plan.micro_rows * row_tokens, 0), objective, phase),
        row_tokens,
    )


def _opened(tokens: Path, model: ModelConfig, phase: PhaseConfig) -> tuple[ExampleShards, ExampleShards, int, int | None]:
    """Both sides, and the positions of a row and of a target."""
    examples, held_out = ExampleShards(tokens / "train"), ExampleShards(tokens / "validation")
    check_held_out(held_out)
    longest = int(examples.inputs.document_lengths().max(initial=1))
    objective, target_tokens = phase.objective, None
    if isinstance(objective, Seq2SeqConfig):
        target_tokens = objective.target_tokens
    if isinstance(objective, ContrastiveConfig):
        target_tokens = objective.passage_tokens
        if target_tokens is None and examples.targets is not None:
            longest = max(longest, int(examples.targets.document_lengths().max(initial=1)))
        elif target_tokens is not None and target_tokens > model.context:
            raise TrainingError(
                f"passage_tokens is {target_tokens:,}, and the model's context {model.context:,}",
                where=f"train.{phase.name}.objective.passage_tokens",
                expected=f"at most {model.context:,}",
                fix="lower passage_tokens",
            )
    return examples, held_out, row_tokens_for(phase, model, longest), target_tokens


def conversation_lessons(
    tokens: Path, model: ModelConfig, phase: PhaseConfig, seed: int, objective_seed: int, progress: Progress
) -> Lessons:
    """Conversations, by length, one to a row."""
    shards, held_out = open_shards(tokens / "train"), open_shards(tokens / "validation")

    def loader(side: TokenShards, batch_tokens: int, seed: int = seed) -> BucketedTexts:
        return BucketedTexts(side, row_tokens=model.context, batch_tokens=batch_tokens, seed=seed)

    plan = batching(phase, model.context, lambda rows: loader(shards, rows * model.context).batches(phase.epochs or 0))
    training = loader(shards, plan.tokens_per_step)
    _tell_cut(training.cut, shards.documents, "conversations", progress)
    options: Any = {"vocab_size": shards.vocab_size, "controls": shards.controls, "seed": objective_seed}
    return Lessons(
        training,
        plan,
        LanguageHead(),
        shards.vocab_size,
        shards.end_of_text_id,
        lambda network: make_objective(phase.objective, **options),
        lambda objective: _watched(loader(held_out, plan.micro_rows * model.context, 0), objective, phase),
        model.context,
    )


def _tell_cut(cut: int, total: int, what: str, progress: Progress) -> None:
    if cut:
        progress.note(f"{cut:,} of {total:,} {what} are longer than a row and are cut")


def _watched(loader: BucketedLoader | BucketedTexts, objective: Objective, phase: PhaseConfig) -> list[Sequence[NDArray[Any]]]:
    """Held-out batches of all lengths: the first of a fixed order."""
    wanted = max(1, phase.validation.tokens // loader.tokens_per_batch)
    return [objective.prepare(loader.batch(number), number) for number in range(min(wanted, loader.batches(1)))]


def preference_lessons(tokens: Path, model: ModelConfig, phase: PhaseConfig, seed: int, progress: Progress) -> Lessons:
    """Pairs of answers, several to a row."""
    assert isinstance(phase.objective, PreferenceConfig), "the schema pairs corpora with objectives"
    objective = phase.objective
    examples, held_out = PreferenceShards(tokens / "train"), PreferenceShards(tokens / "validation")
    check_held_out(held_out)
    lengths = np.maximum(examples.inputs.document_lengths(), examples.targets.document_lengths())
    row_tokens = row_tokens_for(phase, model, int(lengths.max(initial=1)))

    def loader(rows: int) -> PackedLoader:
        return PackedLoader(examples, row_tokens=row_tokens, batch_size=rows, seed=seed)

    plan = batching(phase, row_tokens, lambda rows: loader(rows).batches(phase.epochs or 0))
    training = loader(plan.rows)
    _tell_cut(training.cut, len(examples), "pairs of answers", progress)
    return Lessons(
        training,
        plan,
        LanguageHead(),
        examples.vocab_size,
        examples.end_of_text_id,
        lambda network: Preference(objective, network, phase.precision),
        lambda learned: _held_out(held_out, training, learned, plan.micro_rows, phase.validation.tokens),
    )


def row_tokens_for(phase: PhaseConfig, model: ModelConfig, longest: int) -> int:
    """Positions of a row of examples.

    Raises:
        TrainingError: when more are asked for than the model sees.
    """
    if phase.row_tokens is None:
        return row_tokens_of(longest, model.context)
    if phase.row_tokens > model.context:
        raise TrainingError(
            f"row_tokens is {phase.row_tokens:,}, and the model's context {model.context:,}",
            where=f"train.{phase.name}.row_tokens",
            expected=f"at most {model.context:,}",
            fix="lower row_tokens",
        )
    return phase.row_tokens


def check_held_out(examples: PackedExamples) -> None:
    """Refuse a validation side without an example.

    Raises:
        TrainingError: where there is none.
    """
    if not len(examples):
        raise TrainingError(
            "the validation side has no example",
            where=str(examples.folder),
            expected="some: they say when to stop and which weights are best",
            fix="give split.validation a share",
        )


def _held_out(
    examples: PackedExamples, training: PackedLoader, objective: Objective, rows: int, budget: int
) -> Sequence[Sequence[NDArray[Any]]]:
    """The first held-out examples, in rows of the training step's shape."""
    loader = PackedLoader(
        examples,
        row_tokens=training.row_tokens,
        batch_size=rows,
        seed=None,
        target_tokens=training.target_tokens,
        places=training.places,
    )
    wanted = max(1, budget // loader.tokens_per_batch)
    batches = [loader.batch(number) for number in range(min(wanted, loader.batches(1)))]
    if isinstance(objective, Preference) and objective.follows_weights:
        return HeldOutAnswers(objective, batches)
    return [objective.prepare(batch, number) for number, batch in enumerate(batches)]


def _check_pairs(phase: PhaseConfig, pairs: float) -> None:
    """Refuse batches in which there is nothing to tell apart.

    Raises:
        TrainingError: where one holds fewer than two pairs on average.
    """
    if pairs < 2:
        raise TrainingError(
            f"a batch of {phase.batch_tokens:,} tokens holds {pairs:.1f} pairs on average",
            where=f"train.{phase.name}.batch_tokens",
            expected="two at least, better dozens: each pair is told from the others of its batch",
            fix="raise batch_tokens and micro_batch_tokens, or lower row_tokens and objective.passage_tokens",
        )


def _head(examples: ExampleShards, phase: PhaseConfig) -> Head:
    if isinstance(phase.objective, ContrastiveConfig):
        return EmbeddingHead(pooling=phase.objective.pooling)
    if examples.kind == "labels":
        return SequenceHead(labels=examples.names)
    if examples.kind == "scores":
        return SequenceHead(labels=(SCORE,))
    return TokenHead(labels=examples.names) if examples.kind == "tags" else LanguageHead()
