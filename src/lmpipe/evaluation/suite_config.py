"""What a user may ask of tasks that are written for EleutherAI's lm-evaluation-harness. Nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, StringConstraints

from lmpipe.base.config import Config

METRICS = (
    "acc",
    "acc_norm",
    "acc_mutual_info",
    "exact_match",
    "f1",
    "mcc",
    "bleu",
    "chrf",
    "ter",
    "brier_score",
    "perplexity",
    "word_perplexity",
    "byte_perplexity",
    "bits_per_byte",
)
"""What tasks of the harness give a number (its `api/metrics.py`); a task's own functions may give others."""

TaskName = Annotated[str, StringConstraints(pattern=r"^[\w.-]+$")]


class SuiteConfig(Config):
    """Tasks of lm-evaluation-harness, asked of the trained model through the harness's own interface."""

    tasks: tuple[TaskName, ...] = Field(min_length=1)
    """Names of tasks, as their files say (`task: ...`)."""
    folder: str | None = None
    """The folder with the tasks' YAML files and the data that they name, seen from the recipe's folder; its files belong to
    what is computed. Null: tasks that come with the harness, whose data is fetched from the Hub; then their names and the
    harness's version are all that is known of them."""
    fewshot: int | None = Field(default=None, ge=0)
    """Solved examples before each question; null: as the task says."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many items of each task; null: all."""
    resamples: int = Field(default=1000, ge=100, le=100_000)
    """Bootstrap resamples behind each interval."""
    level: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence level of the intervals."""

    def metric_names(self) -> list[str]:
        """Every name that it may give a number, as far as that can be known before a task is read."""
        return [metric_name(task, metric) for task in self.tasks for metric in METRICS]


def metric_name(task: str, metric: str, filtered: str = "none") -> str:
    """The name a number is known by in gates, reports and cards.

    >>> metric_name("capitals", "acc"), metric_name("sums", "exact_match", "strict")
    ('suite.capitals.acc', 'suite.sums.strict.exact_match')
    """
    return ".".join(part for part in ("suite", task, "" if filtered == "none" else filtered, metric) if part)


def known_suite_metrics(suites: Iterable[SuiteConfig]) -> list[str]:
    """Every metric name that these suites may produce."""
    return [name for suite in suites for name in suite.metric_names()]
