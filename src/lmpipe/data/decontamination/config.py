"""What counts as evaluation text in training text, and what becomes of it. Data only."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config


class DecontaminateConfig(Config):
    """Training documents that hold evaluation text. What is looked for comes from the recipe by itself: the held-out text of
    every corpus under `evaluate:` but this one, prompts and references under `judged:`, problems and solutions under
    `programs:`."""

    action: Literal["drop", "refuse"] = "drop"
    """`drop` takes the training document out, `refuse` stops the run and names what was found."""
    ngram: int = Field(default=13, ge=2, le=100)
    """A run of so many words that a document and an item have in common is a hit (Brown et al. 2020, appendix C: 13)."""
    min_share: float = Field(default=0.0, ge=0, le=1)
    """Share of an item's different runs of `ngram` words that a document must hold; at 0 one is enough."""
    similarity: float = Field(default=0.8, gt=0.5, le=1)
    """Or: a stretch of a document that has so large a share of an item's words, in their order, is a hit, for items of at most
    256 words; so an item is found in which words were changed, and one that is shorter than `ngram`."""
    seed: int = Field(default=5, ge=2, le=100)
    """Words in a row that must be the same before a stretch is looked at that closely."""
    min_words: int = Field(default=8, ge=1, le=100)
    """Shorter items say too little to be told from chance: they are counted and not looked for."""

    @model_validator(mode="after")
    def _seeds_fit_into_items(self) -> Self:
        if self.seed > self.min_words:
            raise ValueError(f"seed is {self.seed} and min_words {self.min_words}; expected items to have at least one seed")
        return self


READ = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".parquet")
"""Ends of names of files that items are taken from."""


class BroughtItems(Config):
    """Items that an evaluation brings in a file of its own."""

    set: str
    """Which evaluation, as its numbers are called: `judged.<name>`, `programs.<name>`, `suite.<folder>.<file>`."""
    columns: tuple[str, ...] | None
    """Keys of a row whose texts are looked for, each by itself: a question may stand somewhere without its answer. Null: every
    text of a row, however deep."""
    limit: int | None
    """Only the first so many rows; null: all."""
