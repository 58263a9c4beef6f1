"""Who takes the place of a cluster's first document when a bound drops it: the first of its near duplicates that breaks none.

    part --> fallen     firsts that break a bound: 8 bytes of hash for each
        `--> waiting    near duplicates that break none: hash of their first one's id, row within the part

Equal documents break the same bounds, so only near and semantic duplicates wait. Without this a page one word too short would
take its longer copies along.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

FALLEN, WAITING = "fallen", "waiting"
WAIT = np.dtype([("first", "<u8"), ("row", "<i8")])


class Claims:
    """What one part says, written when it is closed."""

    def __init__(self) -> None:
        self._fallen: list[int] = []
        self._waiting: list[tuple[int, int]] = []

    def add(self, fallen: Sequence[str], rows: Sequence[int], firsts: Sequence[str]) -> None:
        """Book some firsts that fell, and some rows that wait with the ids of their firsts."""
        self._fallen += map(_hash, fallen)
        self._waiting += zip(map(_hash, firsts), rows, strict=True)

    def save(self, folder: Path) -> None:
        """Write them down."""
        np.array(self._fallen, np.uint64).tofile(folder / FALLEN)
        np.array(self._waiting, WAIT).tofile(folder / WAITING)


def heirs_of(folders: Sequence[Path]) -> list[npt.NDArray[np.int64]]:
    """For each part, the rows that take a fallen first's place: of each cluster one, the first in the order of the corpus."""
    fallen = np.unique(np.concatenate([np.fromfile(folder / FALLEN, np.uint64) for folder in folders]))
    waiting = [np.fromfile(folder / WAITING, WAIT) for folder in folders]
    waiting = [some[np.isin(some["first"], fallen)] for some in waiting]
    together = np.concatenate(waiting)
    part = np.repeat(np.arange(len(folders)), [len(some) for some in waiting])
    first_in_order = np.unique(together["first"], return_index=True)[1]
    chosen, chosen_part = together["row"][first_in_order], part[first_in_order]
    return [np.sort(chosen[chosen_part == number]) for number in range(len(folders))]


def _hash(identity: str) -> int:
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest(), "little")
