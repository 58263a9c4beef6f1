"""Jaccard similarity, exactly: the sets of shingles of the documents that are candidates, and the comparison of two of them.

    part --> shingles   the sorted sets of its candidates, one after the other, 8 bytes a shingle
        `--> first      where each begins

A shingle is known by a 64-bit hash: two different ones are taken for one with a chance of 1e-13 in a comparison of 1,000 with
1,000. Nothing else is approximate here.
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from lmpipe.data.dedup.candidates import FIRST, SHINGLES
from lmpipe.data.dedup.shingles import Hashes, Integers
from lmpipe.data.parts import PartTask
from lmpipe.data.tasks import Tick

OPEN_FILES = 64


def store_part(task: PartTask, folder: Path, tick: Tick) -> None:
    """Keep the sets of one part's candidates: a task of `run_part_tasks`. Its config is their rows within the part; beside it
    lies what `key_part` wrote."""
    wanted, (source, *_) = task.config, task.beside
    assert source is not None
    first = np.load(source / FIRST, allow_pickle=False)
    sizes: list[int] = []
    with (folder / SHINGLES).open("wb") as file, (source / SHINGLES).open("rb") as every:
        for start, end in zip(first[wanted].tolist(), first[wanted + 1].tolist(), strict=True):
            every.seek(8 * start)
            shingles = as_set(np.frombuffer(every.read(8 * (end - start)), np.uint64))
            file.write(shingles.data)
            sizes.append(len(shingles))
    np.save(folder / FIRST, np.concatenate(([0], np.cumsum(sizes, dtype=np.int64))), allow_pickle=False)
    tick(len(first) - 1)


def as_set(shingles: Hashes) -> Hashes:
    """The different ones, sorted."""
    several = np.sort(shingles)
    fresh = np.ones(len(several), bool)
    np.not_equal(several[1:], several[:-1], out=fresh[1:])
    return several[fresh]


def jaccard(one: Hashes, other: Hashes) -> float:
    """|A and B| / |A or B| of two sorted sets, neither of them empty."""
    if len(one) < len(other):
        one, other = other, one
    common = int(np.count_nonzero(one.take(one.searchsorted(other), mode="clip") == other))
    return common / (len(one) + len(other) - common)


class Stored:
    """The sets that `store_part` kept, by row number."""

    def __init__(self, rows: Integers, counts_P: npt.NDArray[np.int64], folders: list[Path]) -> None:
        """`rows`: all candidates, sorted; `counts_P`: how many of them lie in each part."""
        self._rows, self._folders = rows, folders
        self._before_P: list[int] = [0, *np.cumsum(counts_P).tolist()]
        first = [np.load(folder / FIRST, allow_pickle=False) for folder in folders]
        self._first = np.concatenate([one[:-1] for one in first]) if first else np.empty(0, np.int64)
        self._size = np.concatenate([np.diff(one) for one in first]) if first else np.empty(0, np.int64)
        self._open: dict[int, BinaryIO] = {}

    def places_of(self, rows: Integers) -> Integers:
        """Where rows stand among the candidates."""
        return np.searchsorted(self._rows, rows)

    def could_reach(self, one: Integers, other: Integers, threshold: float) -> npt.NDArray[np.bool_]:
        """Whether the sizes of the sets at these places allow the threshold: the union has at least the larger one's."""
        small, large = np.minimum(self._size[one], self._size[other]), np.maximum(self._size[one], self._size[other])
        return small / large >= threshold

    def load(self, place: int) -> Hashes:
        """The set at a place."""
        file = self._file(bisect_right(self._before_P, place) - 1)
        file.seek(8 * int(self._first[place]))
        return np.frombuffer(file.read(8 * int(self._size[place])), np.uint64)

    def _file(self, part: int) -> BinaryIO:
        if part not in self._open:
            if len(self._open) == OPEN_FILES:
                self._open.pop(next(iter(self._open))).close()
            self._open[part] = (self._folders[part] / SHINGLES).open("rb", buffering=0)
        return self._open[part]

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close()
