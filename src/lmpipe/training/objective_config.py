"""What is learned, by numbers: one class per objective. Knows no tensor library."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config


class TokenObjective(Config):
    """What all objectives that predict tokens have. Validation watches the plain loss, whatever is added here."""

    architectures: ClassVar[tuple[str, ...]]
    """Of the networks that can learn it."""
    reason: ClassVar[str]
    """Why others cannot."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each target's probability that is spread over the whole vocabulary (Szegedy et al. 2016)."""
    z_loss: float = Field(default=0.0, ge=0, le=1)
    """Weight of the squared log of the softmax's denominator (Chowdhery et al. 2022, PaLM: 1e-4): holds logits in place."""


class CausalConfig(TokenObjective):
    """Predict every token from those before it in the same document."""

    architectures = ("decoder",)
    reason = "it predicts each token from those before it, and the model must not see what follows"

    kind: Literal["causal"] = "causal"


class ChatConfig(TokenObjective):
    """Answer: conversations are read whole, and only what the assistant says is learned."""

    architectures = ("decoder",)
    reason = CausalConfig.reason

    kind: Literal["chat"] = "chat"


class MaskedConfig(TokenObjective):
    """Guess tokens that were hidden, from both sides (Devlin et al. 2019, BERT); hidden anew each time a text is read."""

    architectures = ("encoder",)
    reason = "it hides tokens and asks for them, and the model must see both sides of them"

    kind: Literal["masked"] = "masked"
    rate: float = Field(default=0.15, gt=0, lt=1)
    """Share of each row's tokens that is asked for; 0.3 to 0.4 is often better for pre-training (Wettig et al. 2023)."""
    mask_fraction: float = Field(default=0.8, ge=0, le=1)
    """Share of those that is replaced by the mask token."""
    random_fraction: float = Field(default=0.1, ge=0, le=1)
    """Share of those that is replaced by any other token; the rest stands as it is, and is asked for all the same."""

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.mask_fraction + self.random_fraction > 1:
            raise ValueError("mask_fraction and random_fraction together are more than all the hidden tokens")
        return self


ObjectiveConfig = Annotated[CausalConfig | ChatConfig | MaskedConfig, Field(discriminator="kind")]
