"""What a user may ask of a split. Imports neither numpy nor pyarrow."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config
from lmpipe.base.errors import SourceError

SPLITS = ("train", "validation", "test")
BY_COLUMN = ("group", "time", "stratum")
"""Splits that look at a column of the documents."""


class LeakageConfig(Config):
    """A look for text of one side that stands, wholly or nearly, on another."""

    near: float | None = Field(default=0.8, gt=0, le=1)
    """Documents are nearly the same from this Jaccard similarity of their sets of five words on; null: equal text alone."""
    action: Literal["report", "drop", "refuse"] = "report"
    """`report` counts, `drop` takes them out of training (and out of validation, where test text has them), `refuse` stops."""


class SplitConfig(Config):
    """How documents are divided into training, validation and test text."""

    train: float = Field(default=0.9, ge=0, le=1)
    """Share of the training text, of all documents whose source names no `side`."""
    validation: float = Field(default=0.05, ge=0, le=1)
    """Share of the validation text, likewise; 0 where other sources bring it, or where nothing needs it."""
    test: float = Field(default=0.05, ge=0, le=1)
    """Share of the test text, likewise."""
    by: Literal["document", "source", "position", "group", "time", "stratum"] = "document"
    """What stays on one side: a `document` with all its pieces, all documents of one file (`source`), or all that share a value
    of `column` (`group`: an author, a site, a patient). `time` puts the oldest into training and the newest into test, by the
    date in `column`. `stratum` gives each value of `column` (a class, a language) its shares on every side, exactly.
    `position` cuts the corpus, in its order, into three runs: the usual way for one long text."""
    column: str | None = Field(default=None, min_length=1)
    """For `group`, `time` and `stratum`: a key of the documents' metadata (`meta_columns` of a source keeps it), or, where
    there is no such key, `source`, `licence`, `language`. Dates are ISO 8601 (`2021`, `2021-03-04`, `2021-03-04T05:06:07Z`)
    or seconds since 1970."""
    without_value: Literal["refuse", "train"] = "refuse"
    """What becomes of documents that have no (readable) value in `column`: the run stops, or they are training text."""
    leakage: LeakageConfig | None = None
    """Whether the sides are compared after the division; null: they are not."""

    def share(self, side: str) -> float:
        """The share of one side."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[side]

    @model_validator(mode="after")
    def _shares_fill_the_whole(self) -> Self:
        total = self.train + self.validation + self.test
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise ValueError(f"train, validation and test add up to {total:g}; expected 1")
        return self

    @model_validator(mode="after")
    def _column_where_it_is_read(self) -> Self:
        if (self.by in BY_COLUMN) != (self.column is not None):
            missing = f"by: {self.by} needs a column" if self.column is None else f"by: {self.by} reads no column"
            raise ValueError(f"{missing}; expected `column` with by: group, time or stratum, and only there")
        if self.by not in BY_COLUMN and self.without_value != "refuse":
            raise ValueError(f"by: {self.by} reads no column, so without_value means nothing; leave it out")
        return self

    @model_validator(mode="after")
    def _whole_documents_are_dropped(self) -> Self:
        if self.by == "position" and self.leakage and self.leakage.action == "drop":
            raise ValueError(
                "by: position cuts documents, and their pieces cannot be dropped; expected action: report or refuse"
            )
        return self


def too_few(groups: int, needed: int, config: SplitConfig, where: str = "split") -> SourceError:
    """The error of a corpus with fewer documents, files or groups than sides that need one."""
    finer = "`by: document` or, for one long text, `by: position`" if config.by in ("source", "group") else "`by: position`"
    return SourceError(
        f"a split by {config.by} needs at least {needed} {config.by}s, and the corpus has {groups}",
        where=where,
        expected="training, validation and test text that share no " + config.by,
        fix=f"read more files, or say {finer} in `split`",
    )
