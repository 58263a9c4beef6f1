"""How much each count gives up: the three discounts of modified Kneser-Ney."""

from __future__ import annotations

from collections.abc import Mapping

Discounts = tuple[float, float, float]

FALLBACK: Discounts = (0.5, 1.0, 1.5)
"""For an order whose counts of counts give no estimate (tiny or repeated text): KenLM's `--discount_fallback`."""


def discounts_of(counts_of_counts: Mapping[int, int]) -> Discounts:
    """D1, D2 and D3+ from how many n-grams have the count 1, 2, 3 and 4 (Chen and Goodman 1998, equation 26).

    Where one of the four is missing, or an estimate leaves (0, count), the order takes `FALLBACK`.

    >>> discounts_of({1: 1000, 2: 300, 3: 150, 4: 90})
    (0.625, 1.0625, 1.5)
    """
    n1, n2, n3, n4 = (counts_of_counts.get(count, 0) for count in (1, 2, 3, 4))
    if 0 in (n1, n2, n3, n4):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if all(0 < discount < count for count, discount in enumerate(found, start=1)) else FALLBACK
