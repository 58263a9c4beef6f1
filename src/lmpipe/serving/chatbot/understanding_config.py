"""What a user may ask of understanding: intents, and from which probability on a message is taken to be understood."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lmpipe.base.config import Config
from lmpipe.serving.chatbot.names import Label, Text


class IntentConfig(Config):
    """One thing that people want from the bot."""

    name: Label
    """As the classifier calls it."""
    title: str = Field(default="", max_length=100)
    """How it is called where people choose between several: `book a table`. The name with spaces where it is empty."""
    examples: tuple[Text, ...] = ()
    """Messages that mean it, for training the classifier and for reading; a corpus may hold more."""

    @property
    def shown(self) -> str:
        """The title, or what stands for it."""
        return self.title or self.name.replace("_", " ")


class FixedThreshold(Config):
    """A threshold that somebody chose."""

    kind: Literal["fixed"] = "fixed"
    value: float = Field(default=0.5, ge=0, le=1)
    """A message whose most probable intent is less probable is out of scope."""


class BestF1(Config):
    """The threshold with the best F1 of finding out-of-scope messages, on validation data that have some."""

    kind: Literal["best_f1"] = "best_f1"


class KeptAccuracy(Config):
    """The highest threshold that keeps so much accuracy on validation messages that are in scope."""

    kind: Literal["kept_accuracy"] = "kept_accuracy"
    at_least: float = Field(default=0.95, gt=0, le=1)
    """Share of in-scope messages that are still accepted with the right intent (Larson et al. 2019 report this share)."""


ThresholdConfig = Annotated[FixedThreshold | BestF1 | KeptAccuracy, Field(discriminator="kind")]


class UnderstandingConfig(Config):
    """When a message is understood."""

    threshold: ThresholdConfig = FixedThreshold()
    """From which probability on an intent is believed."""
    out_of_scope: Label | None = None
    """A label of the classifier that means none of the intents, if it was trained with one."""
    ambiguity: float = Field(default=0.1, ge=0, le=1)
    """Two intents whose probabilities are nearer than this are asked about. 0: never."""
    yes: tuple[str, ...] = ("yes", "y", "yeah", "yep", "sure", "ok", "okay", "right", "correct", "exactly", "please do")
    """Messages, or their first words, that agree; besides `affirm`."""
    no: tuple[str, ...] = ("no", "n", "nope", "not really", "wrong", "no thanks")
    """Messages, or their first words, that disagree; besides `deny`."""
    affirm: Label | None = None
    """An intent that agrees."""
    deny: Label | None = None
    """An intent that disagrees."""
