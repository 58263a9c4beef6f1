"""What a user may ask of an evaluation, and by which names its numbers will be known before any of them exists.

Knows no model, no text and no file: `lmpipe check` imports this to tell whether a gate asks for a metric that nobody measures.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config
from lmpipe.evaluation.task_config import AnyTaskEvaluation
from lmpipe.models.hmm.config import HmmConfig
from lmpipe.models.ngram.config import NgramConfig

Statistic = Literal["bits_per_byte", "perplexity", "next_token_accuracy"]
STATISTICS: tuple[Statistic, ...] = ("bits_per_byte", "perplexity", "next_token_accuracy")
SCORED_SPLITS = ("validation", "test")


class XzConfig(Config):
    """What a general-purpose compressor that has seen no training text needs for the same bytes."""

    kind: Literal["xz"] = "xz"
    preset: int = Field(default=9, ge=0, le=9)
    """The compressor's effort: 9 gives the same size as `xz -9`."""


LanguageModelBaseline = NgramConfig | HmmConfig
"""Language models that are estimated on the tokens that the model learns from."""
Baseline = Annotated[LanguageModelBaseline | XzConfig, Field(discriminator="kind")]


class PerplexityConfig(Config):
    """How well a model predicts held-out text: bits per byte, perplexity and next-token accuracy, each with an interval."""

    measures: ClassVar[tuple[str, ...]] = ("text",)
    """What the corpus must hold."""

    kind: Literal["perplexity"] = "perplexity"
    on: str
    """The corpus (a name under `data:`) whose held-out text is scored."""
    split: Literal["validation", "test"] = "test"
    """Which part of it. `validation` has already chosen the best checkpoint, so only `test` is untouched."""
    baselines: tuple[Baseline, ...] = (NgramConfig(), XzConfig())
    """What to put on the same axis: an n-gram model and a hidden Markov model, trained on the same split, a compressor; at most
    one of each kind."""
    stride_fraction: float = Field(default=0.5, gt=0, le=1)
    """How far the window moves between two passes, as a share of the context: smaller gives each token more context and costs
    more time; 1 scores windows side by side."""
    resamples: int = Field(default=1000, ge=100, le=100_000)
    """Bootstrap resamples behind each interval."""
    level: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence level of the intervals."""

    @model_validator(mode="after")
    def _one_baseline_of_each_kind(self) -> Self:
        kinds = [baseline.kind for baseline in self.baselines]
        if len(set(kinds)) < len(kinds):
            raise ValueError("two baselines of one kind would share one metric name; expected at most one of each kind")
        return self

    def metric_names(self) -> list[str]:
        """Every name that it will give a number, in their order."""
        names = [metric_name(self.on, self.split, statistic) for statistic in STATISTICS]
        for baseline in self.baselines:
            statistics = ("bits_per_byte",) if isinstance(baseline, XzConfig) else ("bits_per_byte", "perplexity")
            names += [metric_name(self.on, self.split, statistic, baseline.kind) for statistic in statistics]
        return names

    def language_models(self) -> tuple[LanguageModelBaseline, ...]:
        """The baselines that learn from text."""
        return tuple(baseline for baseline in self.baselines if not isinstance(baseline, XzConfig))

    def compressor(self) -> XzConfig | None:
        """The compressor, if the recipe wants it."""
        return next((baseline for baseline in self.baselines if isinstance(baseline, XzConfig)), None)


def metric_name(corpus: str, split: str, statistic: str, baseline: str = "") -> str:
    """The name a number is known by in gates, reports and cards.

    >>> metric_name("corpus", "test", "bits_per_byte", "ngram")
    'corpus.test.ngram.bits_per_byte'
    """
    return ".".join(part for part in (corpus, split, baseline, statistic) if part)


EvaluationConfig = Annotated[PerplexityConfig | AnyTaskEvaluation, Field(discriminator="kind")]


def known_metric_names(evaluations: Iterable[PerplexityConfig | AnyTaskEvaluation]) -> list[str]:
    """Every metric name that these evaluations may produce, in the order in which they produce them."""
    return [name for config in evaluations for name in config.metric_names()]
