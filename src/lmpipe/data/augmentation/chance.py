"""Random streams of augmentation: each new document has its own, seeded by what it is made from and never by a position.

    derive_seed(recipe's seed, "augment", kind, id of the parent, number of the copy)

So the order of documents, their number, and who works on them change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random

from lmpipe.base.randomness import derive_seed, unit_interval


def stream_of(seed: int, kind: str, parent: str, copy: int) -> Random:
    """The stream of one new document."""
    return Random(derive_seed(seed, "augment", kind, parent, copy))


def is_chosen(seed: int, kind: str, parent: str, share: float) -> bool:
    """Whether a document is among the `share` that gets copies of this kind; a larger share keeps those of a smaller one."""
    return unit_interval(seed, "augment", kind, parent) < share


def hits(stream: Random, count: int, rate: float) -> Iterator[int]:
    """Positions in [0, count), each with probability `rate`, ascending: gaps are geometric, so work follows the hits."""
    if rate >= 1:
        yield from range(count)
        return
    scale = math.log1p(-rate)
    position = -1
    while True:
        position += 1 + int(math.log(1.0 - stream.random()) / scale)
        if position >= count:
            return
        yield position
