"""What counts as a duplicate: one config per kind, in the order in which `dedup:` lists them. Data only.

exact, minhash             whole documents that repeat another go; the first in the order of the corpus stays
lines, paragraphs, spans   text that stands in several documents goes, the documents stay
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config


class DuplicatesBase(Config):
    """What kinds have that drop whole documents."""

    against: tuple[str, ...] = ()
    """Other corpora (names under `data:`) whose documents count as earlier ones and are themselves never dropped."""


class ExactConfig(DuplicatesBase):
    """Documents whose normalised text is the same; the first in the order of the corpus stays."""

    kind: Literal["exact"] = "exact"
    ignore_case: bool = False
    """Count texts as the same that differ in upper and lower case only."""
    ignore_white_space: bool = True
    """Count texts as the same that differ in the amount of white space only."""


class MinhashConfig(DuplicatesBase):
    """Documents that nearly repeat an earlier one: MinHash-LSH proposes, exact Jaccard similarity of shingles decides."""

    kind: Literal["minhash"] = "minhash"
    unit: Literal["words", "characters"] = "words"
    """What shingles are made of. `characters` for scripts without spaces between words; then `ngram` should be about 10."""
    ngram: int = Field(default=5, ge=1, le=100)
    """Words (or characters) in a shingle."""
    threshold: float = Field(default=0.8, gt=0, le=1)
    """Two documents are near duplicates from this Jaccard similarity of their sets of shingles on."""
    recall: float = Field(default=0.995, gt=0, lt=1)
    """Probability with which a pair exactly at the threshold is found; one above it is found more often. `bands` and `rows`
    follow from it."""
    bands: int | None = Field(default=None, ge=1, le=1000)
    """Keys per document, instead of those that follow from `recall`; together with `rows`."""
    rows: int | None = Field(default=None, ge=1, le=100)
    """Minima behind each key, instead of those that follow from `recall`; together with `bands`."""

    @model_validator(mode="after")
    def _bands_and_rows_go_together(self) -> Self:
        if (self.bands is None) != (self.rows is None):
            raise ValueError("bands and rows go together; expected both or neither")
        return self

    def banding(self) -> tuple[int, int]:
        """(bands, rows): as written, or else those that follow from threshold and recall.

        The most rows, so the fewest false candidates, with which at most 128 minima find a pair at the threshold with
        probability `recall`: 1 - (1 - threshold^rows)^bands (Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, chapter
        3).

        >>> MinhashConfig(threshold=0.8).banding()
        (18, 6)
        """
        bands, rows = self.bands, self.rows
        if bands is not None and rows is not None:
            return bands, rows
        choices = [(self._bands(rows), rows) for rows in range(16, 0, -1)]
        return next((choice for choice in choices if math.prod(choice) <= MOST_MINIMA), choices[-1])

    def _bands(self, rows: int) -> int:
        missed = 1 - self.threshold**rows
        return math.ceil(math.log(1 - self.recall) / math.log(missed)) if missed > 0 else 1


class SemanticConfig(DuplicatesBase):
    """Documents that say in other words what an earlier one says: embeddings by a model of yours, every pair compared."""

    kind: Literal["semantic"] = "semantic"
    model: str = Field(min_length=1)
    """Folder of an encoder in Hugging Face layout (config, safetensors, tokenizer). It is never downloaded. A relative path is
    looked up in the recipe's folder, then in the working folder."""
    threshold: float = Field(default=0.95, gt=0, le=1)
    """Two documents are duplicates from this cosine of their embeddings on (SemDeDup, arXiv 2303.09540, tried 0.9 to 0.99)."""
    max_tokens: int = Field(default=512, ge=8)
    """Of a longer document only so many tokens are read."""


class RepeatedBase(Config):
    """What kinds have that take repeated text out of documents and leave the rest."""

    min_kept: float = Field(default=0.0, ge=0, le=1)
    """A document of which less than this share of the characters is left is dropped; at 0, only one of which no
    letter and no digit is left."""


class RepeatedUnitsBase(RepeatedBase):
    """What lines and paragraphs have in common."""

    min_documents: int = Field(default=2, ge=2)
    """Text that stands in at least so many documents is repeated."""
    keep: Literal["first", "none"] = "first"
    """`first` leaves it in the first document that has it, in the order of the corpus; `none` takes it out of that one, too."""


class LinesConfig(RepeatedUnitsBase):
    """Lines that stand in several documents: menus, notices, signatures. Only white space around and within them is
    overlooked."""

    kind: Literal["lines"] = "lines"
    min_characters: int = Field(default=40, ge=1)
    """Shorter lines stay: brackets, headings, single words."""


class ParagraphsConfig(RepeatedUnitsBase):
    """Paragraphs (text between empty lines) that stand in several documents."""

    kind: Literal["paragraphs"] = "paragraphs"
    min_characters: int = Field(default=100, ge=1)
    """Shorter paragraphs stay."""


class SpansConfig(RepeatedBase):
    """Runs of words that stand in an earlier document, wherever lines begin and end there."""

    kind: Literal["spans"] = "spans"
    ngram: int = Field(default=13, ge=2, le=100)
    """Words in a row that must be the same; longer repetitions are made of them."""
    min_words: int = Field(default=50, ge=2)
    """Shorter repetitions stay: quotations, idioms, names (Lee et al. 2022, arXiv 2107.06499, chose 50 tokens)."""

    @model_validator(mode="after")
    def _spans_hold_a_run(self) -> Self:
        if self.min_words < self.ngram:
            raise ValueError(f"min_words is {self.min_words} and ngram {self.ngram}; expected spans of at least one run")
        return self


MOST_MINIMA = 128
"""Minima per document where the recipe does not say: as many as datatrove takes (112), so that speeds compare."""
DuplicatesConfig = ExactConfig | MinhashConfig | SemanticConfig
RepeatedConfig = LinesConfig | ParagraphsConfig | SpansConfig
DedupConfig = Annotated[DuplicatesConfig | RepeatedConfig, Field(discriminator="kind")]
