"""What a run learns from, by what its tokenize stage's folder holds: a stream of text, examples with answers, preferences.

    stream      Loader, MixtureLoader     rows as long as the context            texts.py
    examples    PackedLoader              rows that hold the longest example     answers.py
    preferences PackedLoader              likewise, of both answers              preferences.py
    prompts     PromptLoader              answers that are drawn in the step     grpo.py

All give batches by number, so that the loop need not know which it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import TrainingError
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.models.config import ModelConfig
from lmpipe.models.heads import Head, LanguageHead, SequenceHead, TokenHead
from lmpipe.models.network import Network
from lmpipe.tokens.examples import ExampleShards, holds_examples
from lmpipe.tokens.mixture import epochs_by_corpus, training_loader
from lmpipe.tokens.packing import PackedExamples, PackedLoader, row_tokens_of
from lmpipe.tokens.preferences import PreferenceShards, holds_preferences
from lmpipe.tokens.shards import open_shards
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.training.answers import objective_on_examples
from lmpipe.training.config import Batching, PhaseConfig, batching
from lmpipe.training.grpo import Grpo, HeldOutAnswers, PromptLoader, Prompts
from lmpipe.training.grpo_config import GrpoConfig
from lmpipe.training.materials import Materials
from lmpipe.training.objective_config import Seq2SeqConfig
from lmpipe.training.objectives import Objective
from lmpipe.training.preference_config import PreferenceConfig
from lmpipe.training.preferences import Preference
from lmpipe.training.texts import objective_on_text
from lmpipe.training.validation import validation_batches

SCORE = "score"
"""The one label of a model that gives numbers."""


class AnyLoader(Protocol):
    """Random access to batches."""

    @property
    def tokens_per_batch(self) -> int:
        """Positions of one batch."""

    def batch(self, position: int) -> Any:
        """Batch number `position`."""

    def epoch(self, position: int) -> float:
        """How often everything was seen before batch `position`."""


@dataclass(frozen=True)
class Lessons:
    """Loader, sizes, and what is needed to build the network and its objective."""

    loader: AnyLoader
    plan: Batching
    head: Head
    vocab_size: int
    end_of_text_id: int
    objective_for: Callable[[Network], Objective]
    validation_for: Callable[[Objective], Sequence[Sequence[NDArray[Any]]]]
    """The held-out batches, prepared: the same each time, but for answers that are drawn."""

    def epochs_by_corpus(self, position: int) -> dict[str, float]:
        """How often each corpus of a mixture was seen before batch `position`; nothing where there is none."""
        return epochs_by_corpus(self.loader, position)


def open_lessons(
    tokens: Path, model: ModelConfig, phase: PhaseConfig, seed: int, progress: Progress, materials: Materials | None = None
) -> Lessons:
    """What `phase` learns from.

    Args:
        tokens: a tokenize stage's folder.
        model: its context bounds the rows.
        phase: budget, sizes and objective.
        seed: the recipe's; the order has its own.
        progress: told what is cut.
        materials: what the objective needs beside them.

    Raises:
        TrainingError: when there is too little.
    """
    loader_seed = derive_seed(seed, "loader", phase.name)
    if holds_preferences(tokens):
        return _preferences(tokens, model, phase, loader_seed, progress)
    objective_seed = derive_seed(seed, "objective", phase.name)
    if isinstance(phase.objective, GrpoConfig):
        return _prompts(tokens, model, phase, phase.objective, loader_seed, objective_seed, materials or Materials())
    if holds_examples(tokens):
        return _examples(tokens, model, phase, loader_seed, progress)
    return _stream(tokens, model, phase, loader_seed, objective_seed, materials or Materials())


def _stream(
    tokens: Path, model: ModelConfig, phase: PhaseConfig, seed: int, objective_seed: int, materials: Materials
) -> Lessons:
    shards = open_shards(tokens / "train")

    def loader(rows: int) -> Any:
        return training_loader(shards, context_length=model.context, batch_size=rows, seed=seed)

    def steps(rows: int) -> int:
        return max(1, -int(-(phase.epochs or 0) * loader(rows).batches_per_epoch // 1))

    plan = batching(phase, model.context, steps)
    return Lessons(
        loader(plan.rows),
        plan,
        LanguageHead(),
        shards.vocab_size,
        shards.end_of_text_id,
        lambda network: objective_on_text(
            phase.objective,
            shards,
            network,
            context=model.context,
            seed=objective_seed,
            precision=phase.precision,
            materials=materials,
        ),
        lambda objective: validation_batches(
            tokens / "validation", objective, model.context, plan.micro_rows, phase.validation.tokens
        ),
    )


def _examples(tokens: Path, model: ModelConfig, phase: PhaseConfig, seed: int, progress: Progress) -> Lessons:
    examples, held_out = ExampleShards(tokens / "train"), ExampleShards(tokens / "validation")
    _check_held_out(held_out)
    row_tokens = _row_tokens(phase, model, _longest(examples))
    target_tokens = phase.objective.target_tokens if isinstance(phase.objective, Seq2SeqConfig) else None

    def loader(rows: int) -> PackedLoader:
        return PackedLoader(examples, row_tokens=row_tokens, batch_size=rows, seed=seed, target_tokens=target_tokens)

    plan = batching(phase, row_tokens, lambda rows: loader(rows).batches(phase.epochs or 0))
    training = loader(plan.rows)
    if training.cut:
        progress.note(f"{training.cut:,} of {len(examples):,} training examples are longer than a row and are cut")
    return Lessons(
        training,
        plan,
        _head(examples),
        examples.vocab_size,
        examples.end_of_text_id,
        lambda network: objective_on_examples(phase.objective, examples, network),
        lambda objective: _held_out(held_out, training, objective, plan.micro_rows, phase.validation.tokens),
    )


def _preferences(tokens: Path, model: ModelConfig, phase: PhaseConfig, seed: int, progress: Progress) -> Lessons:
    assert isinstance(phase.objective, PreferenceConfig), "the schema pairs corpora with objectives"
    objective = phase.objective
    examples, held_out = PreferenceShards(tokens / "train"), PreferenceShards(tokens / "validation")
    _check_held_out(held_out)
    lengths = np.maximum(examples.inputs.document_lengths(), examples.targets.document_lengths())
    row_tokens = _row_tokens(phase, model, int(lengths.max(initial=1)))

    def loader(rows: int) -> PackedLoader:
        return PackedLoader(examples, row_tokens=row_tokens, batch_size=rows, seed=seed)

    plan = batching(phase, row_tokens, lambda rows: loader(rows).batches(phase.epochs or 0))
    training = loader(plan.rows)
    if training.cut:
        progress.note(f"{training.cut:,} of {len(examples):,} pairs of answers are longer than a row and are cut")
    return Lessons(
        training,
        plan,
        LanguageHead(),
        examples.vocab_size,
        examples.end_of_text_id,
        lambda network: Preference(objective, network, phase.precision),
        lambda objective: _held_out(held_out, training, objective, plan.micro_rows, phase.validation.tokens),
    )


def _prompts(
    tokens: Path,
    model: ModelConfig,
    phase: PhaseConfig,
    config: GrpoConfig,
    seed: int,
    objective_seed: int,
    materials: Materials,
) -> Lessons:
    assert materials.tokenizer is not None, "recipes hand in the tokenizer"
    assert materials.judge is not None, "and what judges"
    tokenizer, judge = load_tokenizer(materials.tokenizer), materials.judge
    examples, held_out = ExampleShards(tokens / "train"), ExampleShards(tokens / "validation")
    _check_held_out(held_out)
    prompts, held_out_prompts = (Prompts(config, side, tokenizer) for side in (examples, held_out))
    longest = max(prompts.longest(), held_out_prompts.longest()) + config.answer_tokens - 1
    row_tokens = _row_tokens(phase, model, longest)
    if longest > row_tokens:
        raise TrainingError(
            f"the longest prompt and an answer of {config.answer_tokens:,} tokens take {longest:,} positions, and a row has "
            f"{row_tokens:,}",
            where=f"train.{phase.name}.objective.answer_tokens",
            expected="room for both",
            fix="shorten answers or prompts, or give the model a longer context",
        )
    rows = phase.batch_tokens // row_tokens // config.group * config.group
    if not rows:
        raise TrainingError(
            f"a batch of {phase.batch_tokens:,} tokens has room for {phase.batch_tokens // row_tokens} rows of {row_tokens:,}",
            where=f"train.{phase.name}.batch_tokens",
            expected=f"at least {config.group * row_tokens:,}: the {config.group} answers to a prompt",
            fix="raise batch_tokens, or lower objective.group",
        )

    def loader(side: Prompts, rows: int) -> PromptLoader:
        sizes = {"batch_size": rows // config.group, "group": config.group, "row_tokens": row_tokens}
        return PromptLoader(side, seed=seed, **sizes)

    def steps(rows: int) -> int:
        return max(1, math.ceil((phase.epochs or 0) * len(prompts) * config.group / rows))

    plan = batching(phase.model_copy(update={"batch_tokens": rows * row_tokens}), row_tokens, steps)

    def make(network: Network) -> Grpo:
        return Grpo(
            config,
            network,
            tokenizer=tokenizer,
            judge=judge,
            row_tokens=row_tokens,
            precision=phase.precision,
            seed=objective_seed,
        )

    def watched(objective: Objective) -> HeldOutAnswers:
        assert isinstance(objective, Grpo), "made above"
        one = loader(held_out_prompts, config.group)  # a prompt at a time: each held-out one once
        wanted = max(1, phase.validation.tokens // one.tokens_per_batch)
        return HeldOutAnswers(objective, [one.batch(number) for number in range(min(wanted, len(held_out_prompts)))])

    return Lessons(
        loader(prompts, plan.rows), plan, LanguageHead(), examples.vocab_size, examples.end_of_text_id, make, watched
    )


def _row_tokens(phase: PhaseConfig, model: ModelConfig, longest: int) -> int:
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


def _check_held_out(examples: PackedExamples) -> None:
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
) -> list[Sequence[NDArray[Any]]]:
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
    return [objective.prepare(loader.batch(number), number) for number in range(min(wanted, loader.batches(1)))]


def _longest(examples: ExampleShards) -> int:
    return int(examples.inputs.document_lengths().max(initial=1))


def _head(examples: ExampleShards) -> Head:
    if examples.kind == "labels":
        return SequenceHead(labels=examples.names)
    if examples.kind == "scores":
        return SequenceHead(labels=(SCORE,))
    return TokenHead(labels=examples.names) if examples.kind == "tags" else LanguageHead()
