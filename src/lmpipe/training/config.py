"""One training phase by numbers: what a user may write, and what follows from it. Knows no tensor library.

    tokens (budget) / batch_tokens = optimiser steps; a step is one batch, cut into micro batches that fit the cache

Everything here is part of a phase's identity: how often a checkpoint is written is not, because it changes no result.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config, Name
from lmpipe.base.errors import TrainingError
from lmpipe.tokens.config import MixtureConfig
from lmpipe.training.adapter_config import AdapterConfig
from lmpipe.training.objective_config import CausalConfig, ObjectiveConfig
from lmpipe.training.optimizer_config import AdamWConfig, OptimizerConfig, ParameterRule
from lmpipe.training.samples_config import SamplesConfig
from lmpipe.training.schedule_config import CosineConfig, ScheduleConfig
from lmpipe.training.sparsity_config import SparsityConfig

Precision = Literal["auto", "bf16", "fp16", "fp32"]
IncidentAction = Literal["skip", "roll_back", "stop"]

BF16_FLAGS = frozenset({"amx_bf16", "bf16"})
"""Processor flags (x86, ARM) that stand for bf16 matrix instructions; without one, bf16 is slower than fp32."""
BF16_DOT_FLAG = "avx512_bf16"
"""Dot products of pairs: fast on AMD (Zen 4: 338 GFLOP/s on two cores). On Intel they are slower than fp32 (Emerald Rapids
with its matrix unit hidden by the hypervisor: 146 against 261 GFLOP/s on two cores), so there they do not count."""


class ValidationConfig(Config):
    """Loss on held-out windows: the same ones each time."""

    every_tokens: int = Field(default=500_000, ge=1)
    """Trained tokens between two validations; the end of the phase always has one."""
    tokens: int = Field(default=65_536, ge=1)
    """Held-out tokens that one validation reads (all of the split where it is smaller)."""
    best_by: Literal["loss", "accuracy"] = "loss"
    """What makes weights the best so far, and stops early: held-out loss, or the share of right classes, tags or
    preferences."""


class EarlyStoppingConfig(Config):
    """Stop when the validation loss has stopped falling."""

    patience: int = Field(default=3, ge=1)
    """Validations in a row without improvement before training stops."""
    min_delta: float = Field(default=0.0, ge=0)
    """Nats per token below the best so far (or share of right answers above it) that count as improvement."""


class AverageConfig(Config):
    """A running average of the weights, which is then what is validated, kept and saved."""

    decay: float = Field(default=0.999, ge=0, lt=1)
    """Share of the average that stays in each step: 0.999 remembers about a thousand steps."""


class SpikeConfig(Config):
    """What to do when loss or gradient norm jump (OLMo 2's rule: 6 deviations above the 128 steps before)."""

    action: IncidentAction = "skip"
    """skip: without that update; roll_back: to the last checkpoint, and on behind that batch; stop: with an error."""
    window: int = Field(default=128, ge=8, le=10_000)
    """Steps that say what is usual; before there are as many, nothing is a jump."""
    deviations: float = Field(default=6.0, gt=1)
    """Standard deviations above their mean that are one."""


class PhaseConfig(Config):
    """One phase: a corpus, an objective, a budget of tokens, and how the weights follow the gradient."""

    name: Name
    """What the phase is called in results."""
    on: Name | MixtureConfig
    """The corpus whose training split is learned and whose validation split is watched, or a mixture of several."""
    objective: ObjectiveConfig = CausalConfig()
    """What is learned."""
    tokens: int | None = Field(default=None, ge=1)
    """Training tokens in all, rounded up to whole batches; more than the split holds means several epochs."""
    epochs: float | None = Field(default=None, gt=0, le=10_000)
    """In the place of `tokens`: how often everything is seen."""
    batch_tokens: int = Field(default=16_384, ge=1)
    """Tokens of one optimiser step, rounded down to whole rows."""
    row_tokens: int | None = Field(default=None, ge=8)
    """Positions of a row of examples, of which several stand in one; longer ones are cut. Null: a power of two that holds the
    longest, 128 at least, the model's context at most. (Rows of text are as long as the context.)"""
    bucket_by_length: bool = False
    """Whether batches hold examples (or conversations) of similar length, one to a row, in the place of rows that hold several.
    A batch has at most batch_tokens positions and a width of its own; training then runs uncompiled."""
    micro_batch_tokens: int = Field(default=8_192, ge=1)
    """Tokens that go through the model at once, at most: fewer need less memory and give the same step but for rounding."""
    adapter: AdapterConfig | None = None
    """Thin matrices that learn in place of the weights, worked into them at the end; null: the weights themselves learn."""
    optimizer: OptimizerConfig = AdamWConfig()
    """How weights follow gradients."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Learning rate of a layer over that of the layer after it; below 1, layers near the input move less (for fine-tuning)."""
    parameters: tuple[ParameterRule, ...] = ()
    """Weights that are frozen, or learn at another rate or with another decay, by name."""
    schedule: ScheduleConfig = CosineConfig()
    """How the learning rate moves."""
    clip_norm: float | None = Field(default=1.0, gt=0)
    """Gradients longer than this are scaled down to it; null: never."""
    precision: Precision = "auto"
    """Type of weights, activations and gradients in the products; optimiser and saved weights stay fp32. auto: bf16 where the
    processor has it. fp16 (for GPUs without bf16): the loss is scaled; a step whose gradient leaves fp16's range is skipped."""
    checkpoint_activations: bool = False
    """Whether activations are computed again in the backward pass instead of kept: a third more work, far less memory."""
    samples: SamplesConfig | None = None
    """What the model is asked to write on the way; null: nothing."""
    average: AverageConfig | None = None
    """Average of the weights; null: the last weights count."""
    sparsity: SparsityConfig | None = None
    """Weights that are set to zero and stay so to the end of the phase; null: none."""
    on_non_finite: IncidentAction = "stop"
    """What to do about a loss or gradient that is no finite number: skip the update, roll_back to the last checkpoint and go on
    behind that batch, or stop with an error."""
    on_spike: SpikeConfig | None = None
    """What to do when loss or gradient jump; null: nothing."""
    statistics: bool = True
    """Whether each validation notes sizes of weights, gradients and activations by layer."""
    weights: Literal["best", "last"] = "best"
    """Which weights of the phase before a later phase starts from."""
    validation: ValidationConfig = ValidationConfig()
    """How held-out loss is watched."""
    early_stopping: EarlyStoppingConfig | None = None
    """When to stop before the budget is spent; null: never."""

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.tokens is None) == (self.epochs is None):
            raise ValueError("a phase takes `tokens` or `epochs`; expected one of the two")
        if self.validation.best_by == "accuracy" and not self.objective.judged_by_accuracy:
            raise ValueError(
                f"validation.best_by: accuracy is for classes, tags and preferences, and the objective is {self.objective.kind}"
            )
        if self.row_tokens is not None and "text" in self.objective.learns:
            raise ValueError("row_tokens is for examples; rows of text are as long as the model's context")
        if self.row_tokens is not None and "conversations" in self.objective.learns:
            raise ValueError("row_tokens is for examples; conversations fill rows as long as the model's context")
        if self.objective.whole_batches and self.batch_tokens > self.micro_batch_tokens:
            raise ValueError(
                f"batch_tokens is {self.batch_tokens:,} and micro_batch_tokens {self.micro_batch_tokens:,}: "
                f"{self.objective.kind} {self.objective.undivided}, so they go through the model at once; "
                "expected micro_batch_tokens of as many"
            )
        if self.bucket_by_length and not (self.objective.takes_buckets and isinstance(self.on, str)):
            raise ValueError(
                "bucket_by_length is for one corpus of conversations, or of examples with classes, scores, tags or targets; "
                "expected false"
            )
        if self.samples and not self.objective.writes:
            raise ValueError(f"samples is for causal, chat and distillation, and the objective is {self.objective.kind}")
        if self.sparsity and self.adapter:
            raise ValueError(
                "sparsity sets weights that learn to zero, and with an adapter they stay as they are; expected one of the two "
                "(prune in a phase of its own, before or after)"
            )
        return self

    def corpora(self) -> tuple[str, ...]:
        """The corpora that are trained on."""
        return (self.on,) if isinstance(self.on, str) else self.on.corpora()

    def source(self) -> str:
        """What its tokens are called: the corpus, or a name for the mixture."""
        return self.on if isinstance(self.on, str) else f"mix-{self.name}"


@dataclass(frozen=True)
class Batching:
    """How a phase's tokens become steps."""

    rows: int
    """Rows of `context` tokens in one optimiser step."""
    micro_rows: int
    """Rows in one pass through the model: the largest divisor of `rows` within the phase's micro_batch_tokens."""
    tokens_per_step: int
    steps: int

    @property
    def accumulation(self) -> int:
        """Passes per optimiser step."""
        return self.rows // self.micro_rows


def batching(phase: PhaseConfig, row_tokens: int, steps: Callable[[int], int] | None = None) -> Batching:
    """Rows, micro batches and steps of `phase` in rows of so many tokens.

    Args:
        phase: what is learned.
        row_tokens: positions of a row: the model's context, or what holds the longest example.
        steps: for a phase of so many epochs, the steps that they take with batches of so many rows.

    >>> batching(PhaseConfig(name="p", on="c", tokens=100_000, batch_tokens=4096, micro_batch_tokens=1000), 256)
    Batching(rows=16, micro_rows=2, tokens_per_step=4096, steps=25)

    Raises:
        TrainingError: when a batch is smaller than one row.
    """
    rows = phase.batch_tokens // row_tokens
    if rows == 0:
        raise TrainingError(
            f"the phase '{phase.name}' has batch_tokens {phase.batch_tokens:,}, less than a row of {row_tokens:,}",
            where=f"train.{phase.name}.batch_tokens",
            expected=f"at least {row_tokens:,}",
            fix="raise batch_tokens, or lower model.context (of examples: row_tokens)",
        )
    fitting = max(1, phase.micro_batch_tokens // row_tokens)
    micro_rows = largest_divisor(rows, fitting)
    tokens_per_step = rows * row_tokens
    if phase.tokens is None:
        assert steps is not None, "a phase of epochs is known by its steps only with its corpus at hand"
        return Batching(rows, micro_rows, tokens_per_step, steps(rows))
    return Batching(rows, micro_rows, tokens_per_step, -(-phase.tokens // tokens_per_step))


def why_not_sharded(phase: PhaseConfig, model_kind: str) -> str:
    """Why the weights of this phase cannot be divided among processes; "" where they can."""
    if phase.optimizer.kind in ("muon", "adafactor"):
        return f"{phase.optimizer.kind} needs whole matrices; adamw, lion and sgd update every number by itself"
    if phase.sparsity:
        return "sparsity compares all weights of a matrix"
    if phase.samples:
        return "samples are written by one process, with the whole model"
    if phase.objective.learns_unpaired:
        return "kto asks the whole model before each step"
    if model_kind in ("auto", "lstm"):
        return f"a model of the kind {model_kind} has no layers that we could divide one by one"
    return ""


def largest_divisor(rows: int, at_most: int) -> int:
    """The largest number up to `at_most` that divides `rows`.

    >>> largest_divisor(12, 5)
    4
    """
    return max(divisor for divisor in range(1, min(rows, at_most) + 1) if rows % divisor == 0)


def resolve_precision(precision: Precision, device: str) -> Literal["bf16", "fp16", "fp32"]:
    """What `auto` means on this machine: bf16 on CUDA and on processors with bf16 products, else fp32. Loads no torch."""
    if precision != "auto":
        return precision
    if device == "cuda":
        return "bf16"
    vendor, flags = _processor()
    fast = BF16_FLAGS & flags or (vendor == "AuthenticAMD" and BF16_DOT_FLAG in flags)
    return "bf16" if fast else "fp32"


@cache
def _processor() -> tuple[str, frozenset[str]]:
    """Vendor and instruction sets as Linux lists them; nothing elsewhere, where bf16 has to be asked for."""
    cpuinfo = Path("/proc/cpuinfo")
    if platform.system() != "Linux" or not cpuinfo.exists():
        return "", frozenset()
    first: dict[str, str] = {}
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        first.setdefault(key.strip().lower(), value.strip())
    return first.get("vendor_id", ""), frozenset((first.get("flags") or first.get("features") or "").split())
