"""Confidence intervals for ratios of sums (nats per byte, nats per token, right tokens per token) by resampling whole units.

The unit is the document, because tokens of one document are not independent. Where there are too few documents to resample,
contiguous blocks stand in for them and `Interval.method` says so: such an interval speaks of this text, not of other texts.
Percentile intervals (Efron and Tibshirani 1993, chapter 13); every resample draws the same units for numerator and
denominator, and for both sides of a difference. It knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmpipe.base.measures import Interval

Floats = npt.NDArray[np.float64]

FEW_DOCUMENTS = 20
"""Below this many documents the bootstrap resamples blocks: percentile intervals of fewer units cover visibly too little."""
BLOCKS_WANTED = 100
"""Blocks to cut the whole text into when documents are few."""
SMALLEST_BLOCK_TOKENS = 128
"""Shorter blocks would be correlated with their neighbours and make the interval look tighter than it is."""
CHUNK_ELEMENTS = 4_000_000
"""Resampled indices held in memory at once: 32 MB."""


@dataclass(frozen=True)
class Resampling:
    """How intervals are made: the number of resamples, the level, the seed and what a unit is."""

    resamples: int = 1000
    level: float = 0.95
    seed: int = 0
    unit: str = "documents"

    def method(self, units: int) -> str:
        """The text that goes with every interval.

        >>> Resampling(seed=7).method(120)
        'percentile bootstrap over 120 documents, 1000 resamples, seed 7'
        """
        return f"percentile bootstrap over {units} {self.unit}, {self.resamples} resamples, seed {self.seed}"


def resampled_totals(columns_UC: Floats, resampling: Resampling) -> Floats:
    """Column sums of each resample.

    Args:
        columns_UC: one row per unit, one column per summed quantity.
        resampling: how many resamples, from which seed.

    Returns:
        totals_RC: one row per resample. Equal seeds and equal unit counts draw equal units, whatever the columns hold.
    """
    units, columns = columns_UC.shape
    totals_RC = np.empty((resampling.resamples, columns), dtype=np.float64)
    start = 0
    for chosen_RU in _draws(units, resampling):
        stop = start + len(chosen_RU)
        for column in range(columns):
            totals_RC[start:stop, column] = columns_UC[:, column][chosen_RU].sum(axis=1)
        start = stop
    return totals_RC


def resampled_weights(units: int, resampling: Resampling) -> Iterator[Floats]:
    """How often each resample drew each unit, a few resamples at a time.

    Yields:
        weights_RU: whole numbers; each row adds up to `units`. The draws are those of `resampled_totals`, so any statistic that
        can be computed from weighted units is resampled on the same units as any other.
    """
    for chosen_RU in _draws(units, resampling):
        rows = len(chosen_RU)
        chosen_RU += np.arange(rows, dtype=np.int64)[:, None] * units
        yield np.bincount(chosen_RU.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)


def _draws(units: int, resampling: Resampling) -> Iterator[npt.NDArray[np.int64]]:
    generator = np.random.default_rng(resampling.seed)
    rows_at_once = max(1, CHUNK_ELEMENTS // max(units, 1))
    for start in range(0, resampling.resamples, rows_at_once):
        rows = min(rows_at_once, resampling.resamples - start)
        yield generator.integers(0, units, size=(rows, units))


def interval_of(values_R: Floats, units: int, resampling: Resampling) -> Interval | None:
    """The percentile interval of a statistic's values over the resamples; none where fewer than two units were resampled."""
    finite_R = values_R[np.isfinite(values_R)]
    if units < 2 or len(finite_R) == 0:
        return None
    tail = (1 - resampling.level) / 2
    low, high = np.quantile(finite_R, [tail, 1 - tail])
    return Interval(low=float(low), high=float(high), level=resampling.level, method=resampling.method(units))


def block_tokens_for(document_tokens: npt.NDArray[np.int64]) -> int:
    """Tokens per resampled unit: 0 where documents are the units, otherwise the length of a block.

    >>> import numpy as np
    >>> block_tokens_for(np.full(20, 50)), block_tokens_for(np.array([100_000]))
    (0, 1000)
    """
    if len(document_tokens) >= FEW_DOCUMENTS:
        return 0
    return max(SMALLEST_BLOCK_TOKENS, -(-int(document_tokens.sum()) // BLOCKS_WANTED))
