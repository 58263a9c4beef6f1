"""Reinforcement from rewards that can be checked, by numbers. Knows no tensor library."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config
from lmpipe.training.objective_base import ObjectiveBase


class ExactReward(Config):
    """1 for an answer that is the example's target, white space at the ends aside; else 0."""

    kind: Literal["exact"] = "exact"


class FunctionReward(Config):
    """What a function of the user's says: `def reward(prompt: str, answer: str, target: str) -> float`."""

    kind: Literal["function"] = "function"
    function: str = Field(pattern=r"^.+\.py:[A-Za-z_]\w*$")
    """`file.py:name`. The file's digest is part of the identity; it should give equal rewards for equal answers, else a resumed
    run is another one."""


class ProgramReward(Config):
    """1 for a program that passes its tests, which are the example's target; else 0. Run in the sandbox of `evaluation`."""

    kind: Literal["tests"] = "tests"
    continues: bool = True
    """Whether an answer goes on with the prompt, as in HumanEval, or is a program by itself."""
    wall_seconds: float = Field(default=10.0, gt=0, le=3600)
    """How long a program may run."""
    cpu_seconds: int = Field(default=5, ge=1, le=3600)
    """How much processor time it may use. A program that is killed has not passed."""


Reward = Annotated[ExactReward | FunctionReward | ProgramReward, Field(discriminator="kind")]


class GrpoConfig(ObjectiveBase):
    """Answer so that the reward rises: several answers to a prompt are drawn, and each is learned by how much better than the
    others it was (Shao et al. 2024, DeepSeekMath, section 4.1). The corpus holds pairs: a prompt, and what its answer is judged
    by."""

    architectures = ("decoder",)
    reason = "it draws answers token by token and learns from how they were judged"
    learns = ("pairs",)
    has_answers = False
    undivided = "learns from what the model itself has just written"  # one process draws the answers, and one judges them
    loss_unit = "minus the mean reward"

    kind: Literal["grpo"] = "grpo"
    reward: Reward
    """What an answer is worth."""
    group: int = Field(default=8, ge=2, le=256)
    """Answers to a prompt."""
    answer_tokens: int = Field(default=64, ge=1)
    """Tokens of an answer, at most."""
    temperature: float = Field(default=1.0, gt=0, le=10)
    """At which answers are drawn, and probabilities told."""
    rendered: Literal["chat", "text"] = "text"
    """chat: the prompt is what a user says, and the assistant answers; text: the answer goes directly on with the prompt."""
    clip: float = Field(default=0.2, gt=0, lt=1)
    """A probability that has changed by more than this share since the answers were drawn is pushed no further."""
    clip_higher: float | None = Field(default=None, gt=0, le=10)
    """Likewise, for probabilities that rise (DAPO, Yu et al. 2025: 0.28, so that unlikely tokens can be found). Null: as
    `clip`."""
    beta: float = Field(default=0.04, ge=0, le=10)
    """Weight of the divergence from the weights at the phase's start; 0: no copy of them is kept."""
    mean_over: Literal["answer", "tokens"] = "answer"
    """answer: every answer counts the same, however long (the paper); tokens: every token does (DAPO)."""

    @property
    def needs_tokenizer(self) -> bool:
        """Answers are judged as text."""
        return True

    @model_validator(mode="after")
    def _higher_is_higher(self) -> Self:
        if self.clip_higher is not None and self.clip_higher < self.clip:
            raise ValueError(f"clip_higher {self.clip_higher} is below clip {self.clip}; expected at least as much")
        return self
