"""The n-th smallest of many numbers that lie sorted in files: by bisection over values, in no memory to speak of.

[3 8 9]  [1 8]  [2 5 7]      nth 4 -> 7      (count of numbers <= 7 is 5, of numbers <= 6 is 4)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
SIGN = np.uint64(1 << 63)
LARGEST = (1 << 64) - 1


def nth(arrays: Sequence[Keys], rank: int) -> int:
    """The number that stands at `rank` (from 0) when all are sorted; 2^64 - 1 beyond the last.

    Args:
        arrays: each sorted; may be memory maps.
        rank: how many numbers stand before it.
    """
    low, high = 0, LARGEST
    while low < high:
        middle = (low + high) // 2
        if count_up_to(arrays, middle) > rank:
            high = middle
        else:
            low = middle + 1
    return low


def count_up_to(arrays: Sequence[Keys], value: int) -> int:
    """How many numbers are at most `value`."""
    return sum(int(np.searchsorted(array, np.uint64(value), side="right")) for array in arrays)


def border(arrays: Sequence[Keys], before: Sequence[npt.NDArray[np.int64]], wanted: int) -> int:
    """The smallest number below which stands a weight of at least `wanted`; 2^64 - 1 where there is none.

    Args:
        arrays: each sorted; may be memory maps.
        before: for each, the weight of its first 0, 1, 2, ... numbers.
        wanted: in the unit of the weights.
    """
    low, high = 0, LARGEST
    while low < high:
        middle = (low + high) // 2
        below = (sums[np.searchsorted(array, np.uint64(middle))] for array, sums in zip(arrays, before, strict=True))
        if sum(map(int, below)) >= wanted:
            high = middle
        else:
            low = middle + 1
    return low


def keys_of_floats(values: npt.NDArray[np.float64]) -> Keys:
    """Numbers whose order as integers is the order of the floats (NaN refused): the bits, turned where the sign is set.

    >>> keys_of_floats(np.array([-1.0, 0.0, 2.0])).argsort().tolist()
    [0, 1, 2]
    """
    if np.isnan(values).any():
        raise ValueError("NaN has no place in an order")
    bits = (values + 0.0).view(np.uint64)  # -0.0 + 0.0 is 0.0: they are one number
    return np.where(bits & SIGN, ~bits, bits | SIGN)


def float_of_key(key: int) -> float:
    """The inverse of `keys_of_floats`, for one key."""
    bits = np.uint64(key)
    return float(np.array([bits ^ SIGN if bits & SIGN else ~bits], np.uint64).view(np.float64)[0])


def keys_of_integers(values: npt.NDArray[np.int64]) -> Keys:
    """The same for signed integers."""
    return values.view(np.uint64) ^ SIGN


def runs_of(names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Where each name begins and ends in a sorted list."""
    runs: dict[str, tuple[int, int]] = {}
    for position, name in enumerate(names):
        runs[name] = (runs.get(name, (position,))[0], position + 1)
    return runs
