"""What a user may ask of a search by words. Knows no library."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lmpipe.base.config import Config


class Bm25Parameters(Config):
    """Search by words: BM25 (Robertson and Zaragoza 2009)."""

    k1: float = Field(default=1.2, gt=0, le=10)
    """How much a word's repetition counts: small values let it count once."""
    b: float = Field(default=0.75, ge=0, le=1)
    """How much long texts are held back."""


class Bm25Baseline(Bm25Parameters):
    """What a search by words finds, which was trained on nothing."""

    kind: Literal["bm25"] = "bm25"
