"""How weights follow gradients, by numbers: one class per rule. Knows no tensor library.

Every rule has a peak rate `lr` (the schedule moves it) and a pull towards zero `weight_decay`, both of which the phase's
`parameters` may change for some of the weights.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lmpipe.base.config import Config

Decay = Annotated[float, Field(ge=0, lt=1)]


class AdamWConfig(Config):
    """AdamW (Loshchilov and Hutter 2019); matrices decay, norms do not."""

    kind: Literal["adamw"] = "adamw"
    lr: float = Field(default=3e-3, gt=0)
    """Peak learning rate. Small models take high ones: 3e-3 at 5 million parameters, 6e-4 at 100 million."""
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    """Decay of the two running means (gradient, its square)."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second mean."""
    weight_decay: float = Field(default=0.1, ge=0, lt=10)
    """Pull of the matrices towards zero, times the learning rate."""


class MuonConfig(Config):
    """Muon (Jordan 2024): the momentum of each hidden matrix, orthogonalised; AdamW for embeddings, head and norms.

    One rate serves both: a matrix's update is scaled to the size that AdamW's would have (Liu et al. 2025, "Muon is Scalable").
    """

    kind: Literal["muon"] = "muon"
    lr: float = Field(default=3e-3, gt=0)
    """Peak learning rate of both."""
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Decay of Muon's running gradient (Nesterov's)."""
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    """Decay of AdamW's two running means (gradient, its square)."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of AdamW's second mean."""
    weight_decay: float = Field(default=0.1, ge=0, lt=10)
    """Pull of the matrices towards zero, times the learning rate."""


class LionConfig(Config):
    """Lion (Chen et al. 2023): the sign of an interpolated momentum; one running mean, AdamW has two."""

    kind: Literal["lion"] = "lion"
    lr: float = Field(default=3e-4, gt=0)
    """Peak learning rate: every weight moves by it, so a third to a tenth of AdamW's."""
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    """Share of the momentum in the sign that is taken, and decay of the momentum."""
    weight_decay: float = Field(default=1.0, ge=0, lt=100)
    """Pull of the matrices towards zero, times the learning rate: larger than AdamW's as the rate is smaller."""


class AdafactorConfig(Config):
    """Adafactor (Shazeer and Stern 2018): row and column means for a second moment, so hardly any memory."""

    kind: Literal["adafactor"] = "adafactor"
    lr: float = Field(default=1e-2, gt=0)
    """Largest relative step: a matrix moves by this share of its own root mean square (or 1/sqrt(step), where that is less)."""
    beta2_decay: float = Field(default=-0.8, le=0)
    """The means forget with 1 - step to this power."""
    clip_threshold: float = Field(default=1.0, gt=0)
    """Root mean square to which an update is scaled down."""
    weight_decay: float = Field(default=0.0, ge=0, lt=10)
    """Pull of the matrices towards zero, times the learning rate."""


class SgdConfig(Config):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    lr: float = Field(default=0.1, gt=0)
    """Peak learning rate."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the running gradient; 0: the gradient itself."""
    nesterov: bool = False
    """Whether to look ahead along the momentum; needs some."""
    weight_decay: float = Field(default=0.0, ge=0, lt=10)
    """Pull of the matrices towards zero, added to their gradient."""


OptimizerConfig = Annotated[
    AdamWConfig | MuonConfig | LionConfig | AdafactorConfig | SgdConfig,
    Field(discriminator="kind"),
]


class ParameterRule(Config):
    """Another treatment of the weights whose names match; later rules win over earlier ones."""

    match: str = Field(min_length=1)
    """Names, with `*` for anything: `embedding.*`, `blocks.0.*`, `*.norm.weight`. One that matches nothing is an error."""
    freeze: bool = False
    """Whether these weights stay as they are."""
    lr_factor: float = Field(default=1.0, gt=0, le=100)
    """Their learning rate over that of the others."""
    weight_decay: float | None = Field(default=None, ge=0, lt=100)
    """Their pull towards zero; null: the optimizer's for matrices, none for norms and biases."""
