"""What a user may ask about which documents are trained on, how often and in which order. Imports neither numpy nor pyarrow."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config


class BalanceConfig(Config):
    """Classes of the training text made equally frequent. Validation and test text stay as they are: they say how it is."""

    column: str = Field(min_length=1)
    """Holds the class: a key of the documents' metadata, or, where there is no such key, `source`, `licence`, `language`.
    Documents without it stay as they are."""
    method: Literal["oversample", "undersample"] = "oversample"
    """`oversample` repeats documents until every class has as many as the largest; `undersample` drops documents until every
    class has as many as the smallest. Which ones depends on their ids alone. Weights in the loss in the place of either are
    `class_weights` of the objective."""
    max_repeats: int = Field(default=10, ge=1)
    """No document stands more often than this in the training text, even if its class stays smaller than the largest."""


class CurriculumConfig(Config):
    """Training text from easy to hard (Bengio et al. 2009)."""

    by: str = Field(default="characters", min_length=1)
    """What is easy: few `characters`, few `words`, or a low number in a column of the documents' metadata."""
    descending: bool = False
    """Begin with the largest number instead."""
    runs: int = Field(default=10, ge=2)
    """Each epoch goes through the ordered text in so many runs; within a run the order is random."""


class TowardConfig(Config):
    """Importance resampling toward a target corpus by hashed n-grams (DSIR, Xie et al. 2023, arXiv 2302.03169)."""

    corpus: str = Field(min_length=1)
    """The corpus (a name under `data:`) whose training text the selected documents shall resemble."""
    fraction: float | None = Field(default=None, gt=0, lt=1)
    """Share of the documents that is kept."""
    count: int | None = Field(default=None, ge=1)
    """Number of documents that is kept, in the place of `fraction`."""
    buckets: int = Field(default=10_000, ge=2)
    """Unigrams and bigrams of words are hashed into so many features."""

    @model_validator(mode="after")
    def _one_of_fraction_and_count(self) -> Self:
        if (self.fraction is None) == (self.count is None):
            raise ValueError("select_toward needs either fraction or count; expected exactly one of them")
        return self
