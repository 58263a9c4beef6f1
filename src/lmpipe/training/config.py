"""What a user may write about training, and what `auto` means on this machine. Knows no tensor library."""

from __future__ import annotations

import math
import platform
import subprocess
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config

Precision = Literal["auto", "bf16", "fp32"]
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
"""Words of /proc/cpuinfo that say a CPU multiplies bf16 itself; without them bf16 is emulated, and slower than fp32."""


class CausalObjective(Config):
    """Predict each token from those before it in its document (Bengio et al. 2003; as in GPT)."""

    kind: Literal["causal"] = "causal"


class AdamWConfig(Config):
    """AdamW (Loshchilov and Hutter 2019): Adam with the decay of weights apart from the gradient."""

    kind: Literal["adamw"] = "adamw"
    lr: float = Field(gt=0)
    """Peak learning rate; the schedule scales it."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the running mean of gradients and of their squares."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the squares' mean."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Pull towards zero per step, times the learning rate; matrices only, never norms."""

    @model_validator(mode="after")
    def _betas_in_range(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {list(self.betas)}; expected two numbers from 0 up to, not including, 1")
        return self


class CosineSchedule(Config):
    """Linear warm-up, then half a cosine down (Loshchilov and Hutter 2017)."""

    kind: Literal["cosine"] = "cosine"
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps on which the rate rises from 0."""
    final_fraction: float = Field(default=0.05, ge=0, le=1)
    """The last rate over the peak rate."""


class WsdSchedule(Config):
    """Linear warm-up, a stable stretch, then a linear decay (warm-up, stable, decay; Hu et al. 2024, MiniCPM)."""

    kind: Literal["wsd"] = "wsd"
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps on which the rate rises from 0."""
    decay_fraction: float = Field(default=0.2, ge=0, le=1)
    """Share of the steps on which it falls."""
    final_fraction: float = Field(default=0.0, ge=0, le=1)
    """The last rate over the peak rate."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup_fraction + self.decay_fraction > 1:
            raise ValueError("warmup_fraction and decay_fraction together are more than the whole run")
        return self


class ConstantSchedule(Config):
    """Linear warm-up, then always the peak rate."""

    kind: Literal["constant"] = "constant"
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps on which the rate rises from 0."""


Schedule = Annotated[CosineSchedule | WsdSchedule | ConstantSchedule, Field(discriminator="kind")]


class EarlyStopping(Config):
    """End training when the validation loss has stopped falling."""

    patience: int = Field(default=5, ge=1)
    """Validations in a row without an improvement after which training ends."""
    min_delta: float = Field(default=0.0, ge=0)
    """Nats per token by which a loss must undercut the best to count as better."""


class PhaseConfig(Config):
    """One phase of training."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    """What the phase is called."""
    on: str
    """The corpus (a name under `data:`) whose training split it learns from."""
    objective: CausalObjective = CausalObjective()
    """What is learned."""
    tokens: int = Field(ge=1)
    """Budget: training ends with the step that reaches it. More than the split holds means several epochs."""
    batch_tokens: int = Field(ge=8)
    """Tokens of one optimiser step, rounded down to whole rows of the model's context."""
    micro_batch_tokens: int | None = Field(default=None, ge=8)
    """Tokens computed at once; a step adds up as many of them as `batch_tokens` needs. Default: the whole batch. Lower it where
    memory is short: the result differs only by rounding."""
    optimizer: AdamWConfig
    """How gradients become steps."""
    schedule: Schedule = CosineSchedule()
    """How the learning rate moves."""
    clip_norm: float | None = Field(default=1.0, gt=0)
    """Largest norm of the whole gradient; a longer one is scaled down. `null` never clips."""
    precision: Precision = "auto"
    """`bf16` computes in bfloat16 around fp32 weights; `auto` does where the device multiplies it natively."""
    validations: int = Field(default=20, ge=1)
    """How often during the phase the validation split is scored, the last step included."""
    validation_tokens: int = Field(default=65_536, ge=8)
    """How much of the validation split is scored each time, at most; always the same windows."""
    early_stopping: EarlyStopping | None = None
    """End before the budget is spent when validation stops improving."""
    checkpoints: int = Field(default=20, ge=1)
    """How often during the phase everything needed to go on is saved."""

    def rows(self, context: int) -> int:
        """Rows of one batch."""
        return max(1, self.batch_tokens // context)

    def micro_rows(self, context: int) -> int:
        """Rows computed at once: the largest divisor of `rows` that `micro_batch_tokens` allows."""
        rows = self.rows(context)
        wanted = rows if self.micro_batch_tokens is None else max(1, self.micro_batch_tokens // context)
        return max(size for size in range(1, rows + 1) if rows % size == 0 and size <= wanted)

    def steps(self, context: int) -> int:
        """Optimiser steps of the whole budget."""
        return math.ceil(self.tokens / (self.rows(context) * context))


def resolve_precision(precision: Precision, device: str) -> Literal["bf16", "fp32"]:
    """What `auto` means on `device`; anything else is what it says."""
    if precision != "auto":
        return precision
    return "bf16" if device == "cuda" or cpu_multiplies_bf16() else "fp32"


def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has instructions for bf16 products."""
    if platform.system() == "Darwin":
        asked = subprocess.run(["sysctl", "-n", "hw.optional.arm.FEAT_BF16"], capture_output=True, text=True, check=False)
        return asked.stdout.strip() == "1"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return any(flag in flags.split() for flag in BF16_FLAGS)
