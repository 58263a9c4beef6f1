"""What filters have in common: bounds on scores. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from lmpipe.base.config import Config

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Bounds = dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Rule:
    """A bound on one score. The name goes into ledgers and says what removed a document."""

    name: str
    score: str
    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] | None = None
    """For a score that is a word: the values that stay."""


class Filter(Config):
    """What all filters have: `BOUNDS` says which field bounds which score, and from which side."""

    BOUNDS: ClassVar[Bounds]
    """Field to (score, `at_least` or `at_most`), in the order in which they are applied."""

    def rules(self) -> list[Rule]:
        """The bounds that are set."""
        kind = type(self).model_fields["kind"].default
        found = []
        for field, (score, side) in self.BOUNDS.items():
            bound: Any = getattr(self, field)
            if bound is not None:
                found.append(Rule(f"{kind}.{field}", f"{kind}.{score}", **{side: bound}))
        return found
