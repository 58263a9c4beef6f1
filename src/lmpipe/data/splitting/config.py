"""What a user may ask of a split. Imports neither numpy nor pyarrow."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config


class SplitConfig(Config):
    """How documents are divided into training, validation and test text."""

    train: float = Field(default=0.9, gt=0, lt=1)
    """Share of the training text."""
    validation: float = Field(default=0.05, gt=0, lt=1)
    """Share of the validation text."""
    test: float = Field(default=0.05, gt=0, lt=1)
    """Share of the test text."""
    by: Literal["document", "source", "position"] = "document"
    """What stays on one side: a document with all its pieces, or all documents of one file. `position` cuts the corpus, in its
    order, into three runs: the usual way for one long text."""

    @model_validator(mode="after")
    def _shares_fill_the_whole(self) -> Self:
        total = self.train + self.validation + self.test
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise ValueError(f"train, validation and test add up to {total:g}; expected 1")
        return self
