"""What a user may ask of an audit, and by which names its findings will be known before any of them exists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from lmpipe.base.config import Config


class CanaryConfig(Config):
    """Synthetic secrets planted in the training text, to measure how much of a text seen a few times can be read back out."""

    count: int = Field(default=4, ge=1, le=1000)
    """How many different secrets are planted."""
    repeats: int = Field(default=8, ge=1, le=100_000)
    """In how many training documents each secret stands."""
    candidates: int = Field(default=2000, ge=100, le=1_000_000)
    """Secrets of the same form that were never planted, against which each planted one is ranked. More of them resolve higher
    exposures: the rank alone cannot show more than log2(candidates + 1) bits."""
    max_exposure: float = Field(default=8.0, gt=0)
    """The exposure, in bits, held acceptable: the finding's threshold."""


class MemorizationConfig(Config):
    """Whether the model repeats its training text word for word, and how exposed planted secrets are."""

    kind: Literal["memorization"] = "memorization"
    prefix_tokens: int = Field(default=32, ge=1)
    """Tokens of true training text that the model is given."""
    suffix_tokens: int = Field(default=32, ge=1)
    """Tokens that it must then continue exactly for the passage to count as extractable. Prefix and suffix together must fit in
    the model's context."""
    samples: int = Field(default=400, ge=10)
    """Passages tried from the training text, and as many from text that was never trained on. Without a single hit, n of them
    show that at most 3.84 / (n + 3.84) of all are extractable: 200 show 1.9%, 400 show 1%."""
    shown: int = Field(default=5, ge=0, le=50)
    """Extracted passages to show, shortened and with digits hidden."""
    max_extractable: float = Field(default=0.01, ge=0, le=1)
    """The fraction of passages held acceptable: the findings' threshold."""
    canaries: CanaryConfig | None = CanaryConfig()
    """Planted secrets; `null` plants none and measures no exposure."""


class EnergyConfig(Config):
    """What the run spent, from the records of its stages."""

    kind: Literal["energy"] = "energy"
    grid_gco2e_per_kwh: float | None = Field(default=None, gt=0)
    """Carbon intensity of the electricity used, in grams of CO2-equivalent per kWh. Without it no emission is claimed, because
    grids differ more than tenfold."""
    max_wh: float | None = Field(default=None, gt=0)
    """The energy held acceptable: the finding's threshold."""


AuditConfig = Annotated[MemorizationConfig | EnergyConfig, Field(discriminator="kind")]

EXTRACTABLE = "memorization.extractable"
EXTRACTABLE_HELDOUT = "memorization.extractable_heldout"
EXTRACTABLE_EXCESS = "memorization.extractable_excess"
CANARY_EXPOSURE = "memorization.canary_exposure"
ENERGY = "energy.wh"
EMISSIONS = "energy.gco2e"
CLOCK_FINDINGS = frozenset({ENERGY, EMISSIONS})
"""Findings that depend on the machine and the moment: reported, never gated, because a verdict must be the same when a run is
repeated."""


def known_finding_names(audits: Iterable[MemorizationConfig | EnergyConfig]) -> list[str]:
    """Every finding name that these audits will produce."""
    names: list[str] = []
    for config in audits:
        if isinstance(config, MemorizationConfig):
            names += [EXTRACTABLE, EXTRACTABLE_HELDOUT, EXTRACTABLE_EXCESS]
            names += [CANARY_EXPOSURE] if config.canaries else []
        else:
            names += [ENERGY]
            names += [EMISSIONS] if config.grid_gco2e_per_kwh else []
    return names
