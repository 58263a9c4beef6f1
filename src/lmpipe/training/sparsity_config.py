"""Which weights a phase sets to zero, and when. Knows no tensor library."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config


class MagnitudeConfig(Config):
    """The smallest weights are set to zero, little by little (Zhu and Gupta 2017, To prune, or not to prune)."""

    kind: Literal["magnitude"] = "magnitude"
    share: float = Field(default=0.5, gt=0, lt=1)
    """Share of the hidden matrices' weights that are zero at the end; embeddings, head, norms and biases stay whole."""
    scope: Literal["global", "matrix"] = "global"
    """Where the smallest are looked for: in all matrices together, or in each for itself (queries, keys and values are one)."""
    start: float = Field(default=0.0, ge=0, lt=1)
    """Share of the phase's steps before the first weights go."""
    end: float = Field(default=0.5, ge=0, lt=1)
    """Share of the phase's steps after which the last have gone; what is left of the phase, those that stay recover. Equal to
    `start`: all at once."""
    times: int = Field(default=20, ge=1, le=10_000)
    """Prunings, evenly from `start` to `end`; many weights go in the first ones, few in the last."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"end is {self.end:g}, before start at {self.start:g}; expected start <= end")
        return self


class TwoFourConfig(Config):
    """Of every four weights in a row of a hidden matrix the two smallest are zero, as sparse matrix units want it
    (Mishra et al. 2021, Accelerating sparse deep neural networks)."""

    kind: Literal["2:4"] = "2:4"
    start: float = Field(default=0.0, ge=0, lt=1)
    """Share of the phase's steps before they go, all at once; in what is left of the phase, the others recover."""


SparsityConfig = Annotated[MagnitudeConfig | TwoFourConfig, Field(discriminator="kind")]
