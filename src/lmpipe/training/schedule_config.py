"""How the learning rate moves, by numbers; `schedules.py` says what follows. Knows no tensor library.

Lengths are shares of the phase's steps, so a longer budget stretches the same curve.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config


class ConstantConfig(Config):
    """Up in a line, then the peak to the end."""

    kind: Literal["constant"] = "constant"
    warmup_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps in which the rate rises from zero."""


class LinearConfig(Config):
    """Up in a line, then down in a line."""

    kind: Literal["linear"] = "linear"
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the rate rises from zero."""
    final_fraction: float = Field(default=0.0, ge=0, le=1)
    """Last rate as a share of the peak."""


class CosineConfig(Config):
    """Up in a line, then down along half a cosine (Loshchilov and Hutter 2017)."""

    kind: Literal["cosine"] = "cosine"
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the rate rises from zero."""
    final_fraction: float = Field(default=0.05, ge=0, le=1)
    """Last rate as a share of the peak."""


class WsdConfig(Config):
    """Warm-up, stable, decay (Hu et al. 2024): the plateau can be extended later; the decay does most of the late gain."""

    kind: Literal["wsd"] = "wsd"
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the rate rises from zero."""
    decay_fraction: float = Field(default=0.3, ge=0, le=1)
    """Share of the steps, the last ones, in which the rate falls in a line."""
    final_fraction: float = Field(default=0.0, ge=0, le=1)
    """Last rate as a share of the peak."""

    @model_validator(mode="after")
    def _fits_the_run(self) -> Self:
        if self.warmup_fraction + self.decay_fraction > 1:
            raise ValueError("warmup_fraction and decay_fraction together are more than the whole phase")
        return self


class InverseSqrtConfig(Config):
    """Up in a line, then with one over the root of the step (Vaswani et al. 2017): knows no end, so it can always go on."""

    kind: Literal["inverse_sqrt"] = "inverse_sqrt"
    warmup_fraction: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the rate rises from zero; four times as many steps halve the rate."""


ScheduleConfig = Annotated[
    CosineConfig | LinearConfig | WsdConfig | ConstantConfig | InverseSqrtConfig,
    Field(discriminator="kind"),
]
