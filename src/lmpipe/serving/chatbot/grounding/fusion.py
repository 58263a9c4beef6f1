"""Several searches as one: reciprocal rank fusion (Cormack, Clarke and Büttcher 2009, SIGIR)."""

from __future__ import annotations

from collections.abc import Sequence


def fuse(rankings: Sequence[Sequence[int]], constant: int) -> list[tuple[int, float]]:
    """(item, sum over the rankings of 1 / (constant + rank)), best first; of equals the smaller number.

    >>> [item for item, _ in fuse([[7, 8, 9], [9, 7]], 60)]
    [7, 9, 8]
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + 1 / (constant + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))
