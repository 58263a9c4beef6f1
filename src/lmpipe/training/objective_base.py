"""What every objective says of itself, by numbers. Knows no tensor library."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from lmpipe.base.config import Config


class ObjectiveBase(Config):
    """What every objective says of itself."""

    architectures: ClassVar[tuple[str, ...]]
    """Of the networks that can learn it."""
    reason: ClassVar[str]
    """Why others cannot."""
    learns: ClassVar[tuple[str, ...]]
    """What a corpus must hold."""
    head: ClassVar[str] = "language"
    """What stands on top of the network."""
    loss_unit: ClassVar[str] = "nats per token"
    """Of the loss that is reported."""
    has_answers: ClassVar[bool] = True
    """Whether what it learns from says what is right, so that a few rows can be learned by heart."""
    undivided: ClassVar[str] = ""
    """Why the rows of a batch cannot be divided among processes; "" where they can."""
    whole_batches: ClassVar[bool] = False
    """Whether all rows of a batch go through the model at once, because they are compared with each other."""
    judged_by_accuracy: ClassVar[bool] = False
    """Whether it counts answers that are right."""

    writes: ClassVar[Literal["", "text", "chat"]] = ""
    """What a model that learns it can be asked for while it does: to go on with a text, to answer, or nothing."""
    reads_prefix: ClassVar[bool] = False
    """Whether it teaches a decoder to read what it goes on from both ways, which is then how its prompts are read."""
    takes_buckets: ClassVar[bool] = False
    """Whether it learns from texts that stand in a row each, so that they may be batched by length."""

    @property
    def learns_unpaired(self) -> bool:
        """Of preferences, whether one answer to a prompt is enough."""
        return False

    @property
    def counted_in(self) -> str:
        """The unit of the loss that is reported."""
        return self.loss_unit

    @property
    def needs_tokenizer(self) -> bool:
        """Whether it cannot be learned from ids alone."""
        return False

    @property
    def calibrates(self) -> bool:
        """Whether its time and memory can be measured on random ids."""
        return False


class TokenObjective(ObjectiveBase):
    """What all objectives that predict tokens have. Validation watches the plain loss, whatever is added here."""

    learns = ("text",)

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each target's probability that is spread over the whole vocabulary (Szegedy et al. 2016)."""
    z_loss: float = Field(default=0.0, ge=0, le=1)
    """Weight of the squared log of the softmax's denominator (Chowdhery et al. 2022, PaLM: 1e-4): holds logits in place."""
