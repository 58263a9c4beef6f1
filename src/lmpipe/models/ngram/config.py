"""What a user may ask of an n-gram model. Knows no library."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config


class NgramConfig(Config):
    """Interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998), over the same tokens as the other models."""

    kind: Literal["ngram"] = "ngram"
    order: int = Field(default=5, ge=1, le=12)
    """Longest n-gram: 5 predicts a token from the four before it."""
    prune: tuple[int, ...] = ()
    """One count per order, from 1 on, the last one for all longer: n-grams that occur at most so often are left out, such as
    `[0, 0, 1]` for all but single words and pairs. They must not decrease, and the first is 0. Empty: nothing is left out."""
    max_tokens: int = Field(default=20_000_000, ge=1000, lt=1 << 30)
    """Of a larger training text an even sample of documents is counted: training takes about 100 bytes of memory per token."""

    @model_validator(mode="after")
    def _prune_never_decreases(self) -> Self:
        if self.prune and (self.prune[0] != 0 or list(self.prune) != sorted(self.prune)):
            raise ValueError(f"prune is {list(self.prune)}; expected counts that start with 0 and never decrease")
        return self

    def prune_at(self, order: int) -> int:
        """The count up to which n-grams of this order are left out."""
        return self.prune[min(order, len(self.prune)) - 1] if self.prune else 0
