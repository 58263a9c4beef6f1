"""What a user may ask of programs that the model writes. Nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config, Name

SUBMITTED = "submitted_{count}"
"""The share of problems that are solved by one of so many submissions."""


class ProgramsConfig(Config):
    """Programming problems with tests: many programs are drawn for each and run in the sandbox, few are handed in."""

    name: Name
    """Part of the names of its numbers: `programs.<name>.pass_at_1`."""
    file: str
    """Problems, one JSON object to a line (`.jsonl` or `.jsonl.gz`), seen from the recipe's folder."""
    format: Literal["humaneval", "mbpp"]
    """Which keys a line has. `humaneval`: task_id, prompt, entry_point, test, canonical_solution; the model goes on with the
    prompt's function. `mbpp`: task_id, text, code, test_list; the model writes a program after the text."""
    shown_tests: int = Field(default=1, ge=1, le=10)
    """Of `mbpp`, how many of a problem's tests its prompt shows; in `humaneval` they stand in the prompt."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many problems; null: all."""
    samples: int = Field(default=20, ge=1, le=10_000)
    """Programs drawn for each problem."""
    at: tuple[int, ...] = Field(default=(1, 10), min_length=1)
    """The k of pass@k (Chen et al. 2021), each at most `samples`."""
    submissions: int = Field(default=10, ge=1)
    """Programs handed in for each problem: of those that pass the shown tests, one from each cluster that behaves alike, the
    largest first (Li et al. 2022)."""
    temperature: float = Field(default=0.8, gt=0)
    """Of drawing."""
    max_new_tokens: int = Field(default=256, ge=1)
    """How long a program may be; the prompt has what is left of the context."""
    wall_seconds: float = Field(default=10.0, gt=0)
    """Clock time of a run in the sandbox."""
    cpu_seconds: int = Field(default=5, ge=1)
    """Processor time of each process of a run."""
    resamples: int = Field(default=1000, ge=100, le=100_000)
    """Bootstrap resamples behind each interval."""
    level: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence level of the intervals."""

    @model_validator(mode="after")
    def _enough_are_drawn(self) -> Self:
        most = max(*self.at, self.submissions)
        if most > self.samples or min(self.at) < 1:
            raise ValueError(
                f"samples is {self.samples}, and at or submissions ask for {most}; expected samples: {most} at least"
            )
        return self

    @property
    def subject(self) -> str:
        """First part of the names of its numbers."""
        return f"programs.{self.name}"

    def metric_names(self) -> list[str]:
        """Every name that it gives a number."""
        names = [f"pass_at_{k}" for k in self.at] + [SUBMITTED.format(count=self.submissions)]
        return [f"{self.subject}.{name}" for name in names]


def known_program_metrics(programs: Iterable[ProgramsConfig]) -> list[str]:
    """Every metric name that these evaluations produce."""
    return [name for part in programs for name in part.metric_names()]
