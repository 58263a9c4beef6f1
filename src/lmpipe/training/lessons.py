"""What a run learns from, by what its tokenize stage's folder holds: a stream of text, examples with answers, preferences.

    stream      Loader, MixtureLoader     rows as long as the context            texts.py
    examples    PackedLoader              rows that hold the longest example     answers.py
                BucketedLoader            rows of one example each, by length
                BucketedTexts             of conversations, likewise
    preferences PackedLoader              likewise, of both answers              preferences.py
    prompts     PromptLoader              answers that are drawn in the step     grpo.py

All give batches by number, so that the loop need not know which it is.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lmpipe.base.errors import TrainingError
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.models.config import ModelConfig
from lmpipe.models.heads import LanguageHead
from lmpipe.models.network import Network
from lmpipe.tokens.examples import ExampleShards, holds_examples
from lmpipe.tokens.mixture import training_loader
from lmpipe.tokens.preferences import holds_preferences
from lmpipe.tokens.shards import open_shards
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.training.config import PhaseConfig, batching
from lmpipe.training.example_lessons import (
    bucketed_lessons,
    check_held_out,
    conversation_lessons,
    example_lessons,
    preference_lessons,
    row_tokens_for,
)
from lmpipe.training.grpo import Grpo, HeldOutAnswers, PromptLoader, Prompts
from lmpipe.training.grpo_config import GrpoConfig
from lmpipe.training.lesson import Lessons
from lmpipe.training.materials import Materials
from lmpipe.training.objectives import Objective
from lmpipe.training.texts import objective_on_text
from lmpipe.training.validation import validation_batches


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
        return preference_lessons(tokens, model, phase, loader_seed, progress)
    objective_seed = derive_seed(seed, "objective", phase.name)
    if isinstance(phase.objective, GrpoConfig):
        return _prompts(tokens, model, phase, phase.objective, loader_seed, objective_seed, materials or Materials())
    if holds_examples(tokens):
        opened = bucketed_lessons if phase.bucket_by_length else example_lessons
        return opened(tokens, model, phase, loader_seed, progress)
    if phase.bucket_by_length:
        return conversation_lessons(tokens, model, phase, loader_seed, objective_seed, progress)
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
    check_held_out(held_out)
    prompts, held_out_prompts = (Prompts(config, side, tokenizer) for side in (examples, held_out))
    longest = max(prompts.longest(), held_out_prompts.longest()) + config.answer_tokens - 1
    row_tokens = row_tokens_for(phase, model, longest)
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
