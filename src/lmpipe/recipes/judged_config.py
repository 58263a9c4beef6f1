"""What a user may ask of a judge: another model that compares answers. Nothing heavy.

It stands here because a judge is a generator of the room `data`, which `evaluation` does not know.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from lmpipe.base.config import Config, Name
from lmpipe.data.generation.config import GeneratorConfig

METRICS = ("win_rate", "self_agreement", "position_bias", "unparsable")
HUMAN_METRICS = ("human_agreement", "human_kappa")


class HumanConfig(Config):
    """Rows in which a person compared another answer with the reference: the judge is asked about the same two."""

    answer: str = "other"
    """Column with the other answer."""
    verdict: str = "human"
    """Column with what the person said: `reference`, `other` or `tie`. Rows without it are not asked about."""


class JudgedConfig(Config):
    """The trained model answers prompts, and a judge compares each answer with a reference, in both orders."""

    name: Name
    """Part of the names of its numbers: `judged.<name>.win_rate`."""
    file: str
    """Prompts, one JSON object to a line, seen from the recipe's folder."""
    prompt: str = "prompt"
    """Column with what the model is asked."""
    against: str = "reference"
    """Column with the answer that the model's is compared with."""
    human: HumanConfig | None = None
    """Columns with people's verdicts, by which the judge itself is measured. Null: none."""
    judge: GeneratorConfig
    """Who compares: an OpenAI-compatible endpoint, or a bundle. It is asked at temperature 0."""
    criteria: str = Field(default="Which answer is more correct and more helpful?", min_length=1)
    """What the judge is told to go by."""
    verdict_tokens: int = Field(default=16, ge=1)
    """Most tokens of a verdict, which is one word."""
    max_new_tokens: int = Field(default=128, ge=1)
    """How long an answer of the trained model may be; the prompt has what is left of the context."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """Of the trained model's answers; 0: always the most probable token."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many prompts; null: all."""
    resamples: int = Field(default=1000, ge=100, le=100_000)
    """Bootstrap resamples behind each interval that is no share's."""
    level: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence level of the intervals."""

    @property
    def subject(self) -> str:
        """First part of the names of its numbers."""
        return f"judged.{self.name}"

    def metric_names(self) -> list[str]:
        """Every name that it may give a number."""
        return [f"{self.subject}.{name}" for name in (*METRICS, *(HUMAN_METRICS if self.human else ()))]


def known_judged_metrics(parts: Iterable[JudgedConfig]) -> list[str]:
    """Every metric name that these evaluations may produce."""
    return [name for part in parts for name in part.metric_names()]
