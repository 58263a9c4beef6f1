"""The rules that FineWeb added (Penedo et al. 2024, arXiv 2406.17557), as datatrove's `FineWebQualityFilter` counts them.

Lines are split at line feeds; those of white space alone do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lmpipe.data.filters.batch import Batch, ratio
from lmpipe.data.filters.punctuation import TERMINAL


def fineweb_scores(short_line_characters: int) -> Callable[[Batch], list[Any]]:
    """Computes the scores of batches; lines of at most so many characters are short."""

    def scores(batch: Batch) -> list[Any]:
        rows = [_of_text(text, short_line_characters) for text in batch.texts]
        terminated, short, duplicated, lines, feeds = np.array(rows, np.int64).reshape(-1, 5).T
        return [
            ratio(terminated, lines),
            ratio(short, lines),
            ratio(duplicated, batch.characters - feeds),
            np.where(batch.word_counts > 0, ratio(feeds, batch.word_counts), feeds),
        ]

    return scores


def _of_text(text: str, short: int) -> tuple[int, int, int, int, int]:
    """(lines that end a sentence, short lines, characters in lines that stood before, lines, line feeds)."""
    split = text.split("\n")
    lines = [line for line in split if line and not line.isspace()]
    lengths = list(map(len, lines))
    distinct = set(lines)
    repeated = sum(lengths) - sum(map(len, distinct)) if len(distinct) < len(lines) else 0
    terminated = sum([line[-1] in TERMINAL for line in lines])
    return terminated, sum([length <= short for length in lengths]), repeated, len(lines), len(split) - 1
