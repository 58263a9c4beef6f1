"""How preferences are learned, by numbers: one class per loss. Knows no tensor library.

A preference is (prompt, preferred answer, rejected answer). p and q are log-probabilities of the two answers by the model that
learns, p0 and q0 by the one that it starts from; s(x) = 1 / (1 + exp(-x)); |.| is the length of an answer in tokens.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lmpipe.base.config import Config
from lmpipe.training.objective_base import ObjectiveBase


class LossBase(Config):
    """What every loss says of itself."""

    needs_reference: ClassVar[bool] = False
    """Whether it asks what the model thought at the start."""


class DpoConfig(LossBase):
    """-ln s(beta ((p - p0) - (q - q0))) (Rafailov et al. 2023)."""

    needs_reference = True

    kind: Literal["dpo"] = "dpo"
    beta: float = Field(default=0.1, gt=0, le=10)
    """How dear it is to move away from the start: larger stays nearer."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the preferences that may be the wrong way round (Mitchell 2023, conservative DPO)."""


class IpoConfig(LossBase):
    """(((p - p0) - (q - q0)) - 1 / (2 beta))^2 (Azar et al. 2023, equation 17): does not run away from a sure preference."""

    needs_reference = True

    kind: Literal["ipo"] = "ipo"
    beta: float = Field(default=0.1, gt=0, le=10)
    """The paper's tau: 1 / (2 beta) is how far apart the answers are moved, in nats."""


class SimpoConfig(LossBase):
    """-ln s(beta (p / |p| - q / |q|) - margin) (Meng et al. 2024): without a model to stay near to."""

    kind: Literal["simpo"] = "simpo"
    beta: float = Field(default=2.0, gt=0, le=100)
    """Scale of the difference, in nats per token."""
    margin: float = Field(default=1.0, ge=0)
    """The paper's gamma: how much better the preferred answer has to be."""


class OrpoConfig(LossBase):
    """-p / |p| - weight ln s(ln odds of the preferred - ln odds of the rejected answer) (Hong et al. 2024), odds of
    exp(p / |p|): learns the preferred answer and the preference at once, so it needs no phase before."""

    kind: Literal["orpo"] = "orpo"
    weight: float = Field(default=0.1, gt=0, le=10)
    """The paper's lambda: of the preference, beside what is learned of the preferred answer."""


class KtoConfig(LossBase):
    """weight (1 - s(beta (r - z))) of an answer that was liked, r = p - p0, weight (1 - s(beta (z - r))) of one that was not;
    z, how far the model has moved, is the mean r of answers to other prompts of the batch, 0 at least (Ethayarajh et al. 2024).
    Every answer counts by itself: the one way to learn from rows that have only one (`holds.unpaired`)."""

    needs_reference = True

    kind: Literal["kto"] = "kto"
    beta: float = Field(default=0.1, gt=0, le=10)
    """How dear it is to move away from the start: larger stays nearer."""
    desirable_weight: float = Field(default=1.0, gt=0)
    """What an answer that was liked counts. With n liked and m others, the paper has n x this at 1 to 4/3 of m x the next."""
    undesirable_weight: float = Field(default=1.0, gt=0)
    """What one that was not liked counts."""


PreferenceLoss = Annotated[DpoConfig | IpoConfig | SimpoConfig | OrpoConfig | KtoConfig, Field(discriminator="kind")]


class PreferenceConfig(ObjectiveBase):
    """Prefer some answers over others. The weights at the phase's start are the model that `dpo`, `ipo` and `kto` stay near."""

    architectures = ("decoder",)
    reason = "an answer is as probable as its tokens, each from those before it, and the model must not see what follows"
    learns = ("preferences",)
    judged_by_accuracy = True
    loss_unit = "per pair of answers"

    kind: Literal["preference"] = "preference"
    loss: PreferenceLoss = DpoConfig()
    """What is minimised."""

    @property
    def counted_in(self) -> str:
        """Of kto, answers by themselves."""
        return "per answer" if isinstance(self.loss, KtoConfig) else self.loss_unit

    @property
    def learns_unpaired(self) -> bool:
        """Only kto looks at each answer by itself."""
        return isinstance(self.loss, KtoConfig)
