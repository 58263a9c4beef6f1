"""From pairs that are alike to clusters: what hangs together by pairs is one cluster, whatever the order in which they are
found.

A cluster is named by its lowest row. Memory follows the documents that are alike to another one: 100 bytes for each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmpipe.data.dedup.marking import PAIR, Layout

EDGE = np.dtype([("lower", "<i8"), ("higher", "<i8"), ("similarity", "<f8")])
"""Two documents that were compared and found alike: row numbers through all parts."""


class Forest:
    """Union-find whose roots are the lowest numbers."""

    def __init__(self, size: int) -> None:
        self.parent = array("q", range(size))

    def root(self, place: int) -> int:
        """The lowest number of a cluster."""
        parent = self.parent
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    def join(self, one: int, other: int) -> None:
        """Make two clusters one."""
        one, other = self.root(one), self.root(other)
        self.parent[max(one, other)] = min(one, other)


def clusters_of(layout: Layout, files: Sequence[Path]) -> Iterator[npt.NDArray[np.void]]:
    """(first document of a cluster, another one of the corpus), all clusters whose first stands in one part at a time."""
    edges = np.concatenate([np.fromfile(path, EDGE) for path in files])
    rows, places = np.unique(np.concatenate((edges["lower"], edges["higher"])), return_inverse=True)
    forest = Forest(len(rows))
    for low, high in zip(*places.reshape(2, -1).tolist(), strict=True):
        forest.join(low, high)
    root = np.array([forest.root(place) for place in range(len(rows))], np.int64)
    nearest = np.zeros(len(rows))
    np.maximum.at(nearest, places, np.tile(edges["similarity"], 2))
    chosen = np.flatnonzero((root != np.arange(len(rows))) & (rows >= layout.first_own_row))
    chosen = chosen[np.argsort(root[chosen], kind="stable")]
    pairs = np.empty(len(chosen), PAIR)
    pairs["survivor"], pairs["duplicate"], pairs["similarity"] = rows[root[chosen]], rows[chosen], nearest[chosen]
    borders = np.searchsorted(pairs["survivor"], layout.first_P)
    for start, end in zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True):
        if end > start:
            yield pairs[start:end]
