"""What one phase learns from, opened: batches by number, sizes, and how to make its objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from lmpipe.models.heads import Head
from lmpipe.models.network import Network
from lmpipe.tokens.mixture import epochs_by_corpus
from lmpipe.training.config import Batching
from lmpipe.training.objectives import Objective


class AnyLoader(Protocol):
    """Random access to batches."""

    @property
    def tokens_per_batch(self) -> int:
        """Positions of one batch."""

    def batch(self, position: int) -> Any:
        """Batch number `position`."""

    def epoch(self, position: int) -> float:
        """How often everything was seen before batch `position`."""


@dataclass(frozen=True)
class Lessons:
    """Loader, sizes, and what is needed to build the network and its objective."""

    loader: AnyLoader
    plan: Batching
    head: Head
    vocab_size: int
    end_of_text_id: int
    objective_for: Callable[[Network], Objective]
    validation_for: Callable[[Objective], Sequence[Sequence[NDArray[Any]]]]
    """The held-out batches, prepared: the same each time, but for answers that are drawn."""
    row_tokens: int | None = None
    """Where every batch has a width of its own: the positions of the rows that `plan` counts. None: all have one shape."""

    def epochs_by_corpus(self, position: int) -> dict[str, float]:
        """How often each corpus of a mixture was seen before batch `position`; nothing where there is none."""
        return epochs_by_corpus(self.loader, position)
