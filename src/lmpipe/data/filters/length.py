"""How long documents are."""

from __future__ import annotations

from typing import Any

from lmpipe.data.filters.batch import Batch


def length_scores(batch: Batch) -> list[Any]:
    """Characters, and runs of characters that are not white space."""
    return [batch.characters, batch.stretch_counts]
