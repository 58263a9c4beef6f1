"""What a user may ask of linear text classifiers. Knows no library."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lmpipe.base.config import Config


class LinearConfig(Config):
    """Multinomial logistic regression on weighted words and runs of words (TF-IDF): the baseline of text classification."""

    kind: Literal["linear"] = "linear"
    word_ngrams: int = Field(default=2, ge=1, le=4)
    """Runs of 1 to so many words are features."""
    character_ngrams: int = Field(default=0, ge=0, le=6)
    """Runs of 3 to so many characters inside words (their borders marked) are features, too, which helps with typing errors and
    endings. Below 3: none."""
    min_texts: int = Field(default=1, ge=1)
    """A feature that stands in fewer training texts is left out."""
    max_features: int = Field(default=200_000, ge=1)
    """Of more features those that stand in the most texts are kept."""
    log_counts: bool = False
    """Whether a word that stands n times in a text counts 1 + ln n instead of n."""
    cost: float = Field(default=10.0, gt=0)
    """How much an error weighs against large weights: C of LIBLINEAR and scikit-learn. Smaller is more regularised."""
    balanced: bool = False
    """Whether all labels weigh the same, however many texts each has."""
    iterations: int = Field(default=200, ge=1, le=100_000)
    """Steps of the optimiser, at most."""
    tolerance: float = Field(default=1e-5, gt=0)
    """Training ends when no entry of the gradient of the mean loss is larger."""
