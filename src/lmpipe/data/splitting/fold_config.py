"""What a user may ask of cross-validation and of learning curves. Imports neither numpy nor pyarrow."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config


class CrossValidationConfig(Config):
    """k-fold cross-validation: every document is test text once in each repeat."""

    folds: int = Field(default=5, ge=2, le=100)
    """Parts; a model is trained for each, on the others."""
    repeats: int = Field(default=1, ge=1, le=20)
    """How often all documents are dealt anew."""
    stratify: str | None = Field(default=None, min_length=1)
    """A column (of the metadata, or else `source`, `licence`, `language`) of whose values every fold gets its share. Null: of a
    corpus that holds one label for each text, the labels, unless there is a `group`; otherwise nothing."""
    group: str | None = Field(default=None, min_length=1)
    """A column whose values stay together on one fold: an author, a site, a patient."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.stratify and self.group:
            raise ValueError("cross_validation has `stratify` and `group`; expected one: whole groups have no exact shares")
        return self


class LearningCurveConfig(Config):
    """Training on parts of the training text, each within the next larger one."""

    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.1, 0.3, 1.0)
    """Shares of the training documents. The whole of it is the run's own training, named here or not; with it, three are needed
    to see a law."""

    @model_validator(mode="after")
    def _shares_are_three(self) -> Self:
        if len(set(self.shares)) < len(self.shares) or len({*self.shares, 1.0}) < 3:
            raise ValueError(
                f"learning_curve.shares are {', '.join(map(str, self.shares))}; expected two below 1 at least, each once"
            )
        return self

    def parts(self) -> list[float]:
        """The shares below the whole, ascending."""
        return sorted({*self.shares} - {1.0})
