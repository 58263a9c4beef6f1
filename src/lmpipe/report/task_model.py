"""What the page says about one evaluated task, and about how training carried over: plain data, parts of `model.Report`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lmpipe.base.config import Config


class Score(Config):
    """One number; how its interval was made stands in the table of all metrics."""

    statistic: str
    """Such as `accuracy`."""
    value: float
    unit: str
    low: float | None = None
    """Lower end of the interval."""
    high: float | None = None


class Baseline(Config):
    """A simple model on the same examples."""

    name: str
    scores: list[Score]


class Part(Config):
    """Some of the examples: one class, or one value of a column, and the numbers for them alone."""

    by: str
    value: str
    count: int
    small: bool = False
    """Too few examples to say much."""
    scores: list[Score]


class Confusion(Config):
    """How often each class was taken for each other one."""

    classes: list[str] = Field(min_length=1)
    counts: list[list[int]]
    """Rows are true classes, columns the predicted ones."""

    @model_validator(mode="after")
    def _is_square(self) -> Confusion:
        if {len(self.classes)} != {len(self.counts), *map(len, self.counts)}:
            raise ValueError(f"a confusion matrix of {len(self.classes)} classes needs as many rows and columns")
        return self


class ReliabilityBar(Config):
    """Answers of about one confidence, and how many of them are right."""

    low: float
    high: float
    confidence: float
    """The mean."""
    accuracy: float
    accuracy_low: float
    """Lower end of its interval."""
    accuracy_high: float
    count: int


class Choice(Config):
    """What was chosen on validation examples, and what it came to on the measured ones."""

    name: str
    value: float
    effect: str
    """In one sentence."""


class AnsweredExample(Config):
    """One example with the model's answer."""

    id: str
    text: str
    expected: str
    answer: str
    group: str = ""
    """By which the list can be filtered: the true class."""
    scores: dict[str, float] = Field(default_factory=dict)
    """Such as the confidence, or ROUGE-L of this one text."""


class Task(Config):
    """One evaluation of answers."""

    subject: str
    """Such as `reviews.test`."""
    kind: str
    count: int
    """Examples measured."""
    scores: list[Score]
    baselines: list[Baseline] = Field(default_factory=list)
    confusion: Confusion | None = None
    classes: list[Part] = Field(default_factory=list)
    slices: list[Part] = Field(default_factory=list)
    reliability: list[ReliabilityBar] = Field(default_factory=list)
    choices: list[Choice] = Field(default_factory=list)
    wrong: int | None = None
    """Examples answered wrongly; None where there is no plain right and wrong."""
    examples_title: str = ""
    """In which order the examples stand."""
    examples: list[AnsweredExample] = Field(default_factory=list)


class Fit(Config):
    """Whether one phase of training learned what carries over."""

    phase: str
    verdict: Literal["overfitted", "underfitted", "fine", "unclear"]
    best_step: int | None = None
    last_step: int | None = None
    gap: float | None = None
    """Validation loss over training loss at the last step, minus 1."""
    evidence: list[str] = Field(min_length=1)
