"""How near the distribution of generated texts is to that of the references: MAUVE (Pillutla et al. 2021).

    texts, references -> vectors -> unit length -> principal components -> k-means of both together -> two histograms
    two histograms -> divergence of each from their mixtures -> a curve between (1, 0) and (0, 1) -> the area under it

1: the histograms are equal. Near 0: no cluster holds texts of both kinds. Settings are those of the paper and of `mauve-text`:
90% of the variance, one cluster for ten texts, divergences scaled by 5, 25 mixtures. Clusters depend on the texts of both
sides, so two models have clusters of their own and are not paired. Knows no model: vectors come from outside.
Legend of shape suffixes: N texts, D dimensions, K clusters, R rows of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from lmpipe.base.measures import Interval
from lmpipe.evaluation.bootstrap import Floats, Resampling, resampled_weights

Ints = npt.NDArray[np.int64]
Embedder = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""Texts to vectors, one row for each."""

GENERATED, REFERENCE = "mauve_generated", "mauve_reference"
"""Columns of the per-example results: the cluster of the text, and that of its first reference."""
EXPLAINED = 0.9
TEXTS_TO_A_CLUSTER = 10
SCALE = 5.0
MIXTURES = 25
STARTS, ITERATIONS = 5, 100
ROWS_AT_ONCE = 4096


def quantised(generated_ND: Floats, reference_ND: Floats, *, clusters: int | None, seed: int) -> tuple[Ints, Ints]:
    """The cluster of every text and of every reference, both clustered together.

    Args:
        generated_ND: vectors of the texts.
        reference_ND: of the references, as many.
        clusters: how many; None: one for ten texts, at least two.
        seed: of where k-means starts.
    """
    both_ND = np.concatenate((generated_ND, reference_ND))
    both_ND = both_ND / np.maximum(np.linalg.norm(both_ND, axis=1, keepdims=True), 1e-12)
    count = len(generated_ND)
    wanted = clusters or max(2, round(count / TEXTS_TO_A_CLUSTER))
    found_N = k_means(_principal(both_ND), min(wanted, len(both_ND)), seed)
    return found_N[:count], found_N[count:]


def _principal(points_ND: Floats) -> Floats:
    """The fewest principal components that explain `EXPLAINED` of the variance."""
    centred_ND = points_ND - points_ND.mean(axis=0)
    variances_D, axes_DD = np.linalg.eigh(centred_ND.T @ centred_ND)
    shares_D = np.cumsum(np.maximum(variances_D[::-1], 0.0))
    kept = int(np.searchsorted(shares_D, EXPLAINED * shares_D[-1])) + 1
    return np.asarray(centred_ND @ axes_DD[:, ::-1][:, :kept], np.float64)


def k_means(points_ND: Floats, clusters: int, seed: int) -> Ints:
    """Lloyd's k-means from k-means++ (Arthur and Vassilvitskii 2007), the best of several starts.

    Returns:
        The cluster of each point, from 0 to `clusters` - 1; of fewer distinct points than clusters some have none.
    """
    generator = np.random.default_rng(seed)
    best_N, least = np.zeros(len(points_ND), np.int64), np.inf
    for _ in range(STARTS):
        centres_KD = _far_points(points_ND, clusters, generator)
        nearest_N, distance_N = _nearest(points_ND, centres_KD)
        for _ in range(ITERATIONS):
            sizes_K = np.bincount(nearest_N, minlength=clusters)
            sums_KD = np.zeros_like(centres_KD)
            np.add.at(sums_KD, nearest_N, points_ND)
            filled = sizes_K > 0  # an empty cluster stays where it is
            centres_KD[filled] = sums_KD[filled] / sizes_K[filled, None]
            before_N = nearest_N
            nearest_N, distance_N = _nearest(points_ND, centres_KD)
            if np.array_equal(before_N, nearest_N):
                break
        if (total := float(distance_N.sum())) < least:
            best_N, least = nearest_N, total
    return best_N


def _far_points(points_ND: Floats, count: int, generator: np.random.Generator) -> Floats:
    """Points that k-means starts from: each drawn by its squared distance from those before it."""
    chosen = [int(generator.integers(len(points_ND)))]
    distance_N = _nearest(points_ND, points_ND[chosen])[1]
    while len(chosen) < count:
        total = distance_N.sum()
        chances = distance_N / total if total > 0 else None
        chosen.append(int(generator.choice(len(points_ND), p=chances)))
        distance_N = np.minimum(distance_N, _nearest(points_ND, points_ND[chosen[-1:]])[1])
    return points_ND[chosen].copy()


def _nearest(points_ND: Floats, centres_KD: Floats) -> tuple[Ints, Floats]:
    """The nearest centre of each point and its squared distance."""
    nearest_N, distance_N = np.empty(len(points_ND), np.int64), np.empty(len(points_ND))
    lengths_K = (centres_KD**2).sum(axis=1)
    for start in range(0, len(points_ND), ROWS_AT_ONCE):
        rows_ND = points_ND[start : start + ROWS_AT_ONCE]
        distances_NK = (rows_ND**2).sum(axis=1)[:, None] - 2 * rows_ND @ centres_KD.T + lengths_K
        found_N = distances_NK.argmin(axis=1)
        nearest_N[start : start + ROWS_AT_ONCE] = found_N
        distance_N[start : start + ROWS_AT_ONCE] = distances_NK[np.arange(len(found_N)), found_N]
    return nearest_N, np.maximum(distance_N, 0.0)


def area_under_curve(first_RK: Floats, second_RK: Floats) -> Floats:
    """MAUVE of two histograms, row by row.

    >>> float(area_under_curve(np.array([[1.0, 3.0]]), np.array([[2.0, 6.0]]))[0])
    1.0

    Args:
        first_RK: counts, or anything in proportion to them.
        second_RK: the same for the other side.
    """
    p_RK = first_RK / first_RK.sum(axis=1, keepdims=True)
    q_RK = second_RK / second_RK.sum(axis=1, keepdims=True)
    rows = len(p_RK)
    across, up = [np.ones(rows)], [np.zeros(rows)]
    for share in np.linspace(1e-6, 1 - 1e-6, MIXTURES):
        mixed_RK = share * p_RK + (1 - share) * q_RK
        across.append(np.exp(-SCALE * _divergence(q_RK, mixed_RK)))
        up.append(np.exp(-SCALE * _divergence(p_RK, mixed_RK)))
    across, up = [*across, np.zeros(rows)], [*up, np.ones(rows)]
    # from (1, 0) to (0, 1), so the area under it comes out negative
    return np.asarray(-np.trapezoid(np.stack(up), np.stack(across), axis=0), np.float64)


def _divergence(of_RK: Floats, from_RK: Floats) -> Floats:
    """Kullback-Leibler, in nats; the second is nowhere 0 where the first is not."""
    there = of_RK > 0
    logarithms_RK = np.log(np.where(there, of_RK, 1.0) / np.where(there, from_RK, 1.0))
    return np.asarray((of_RK * logarithms_RK).sum(axis=1), np.float64)


def mauve(generated_N: Ints, reference_N: Ints, resampling: Resampling) -> tuple[float, Interval | None]:
    """The number and its interval, from the clusters of texts and of their references.

    Texts are drawn again with their references, and the clusters stay. Histograms of drawn texts differ more from each other
    than those they are drawn from, so resamples lie lower: the interval is their spread around their own mean, laid around
    the number. It knows nothing of the bias that few texts have.
    """
    clusters = int(max(generated_N.max(), reference_N.max())) + 1
    count = len(generated_N)

    def values(weights_RN: Floats) -> Floats:
        return area_under_curve(_histograms(generated_N, weights_RN, clusters), _histograms(reference_N, weights_RN, clusters))

    value = float(values(np.ones((1, count)))[0])
    if count < 2:
        return value, None
    values_R = np.concatenate([values(weights_RN) for weights_RN in resampled_weights(count, resampling)])
    tail = (1 - resampling.level) / 2
    low, high = value + np.quantile(values_R, [tail, 1 - tail]) - values_R.mean()
    method = f"spread of a {resampling.method(count)}, around the number"
    return value, Interval(low=max(0.0, float(low)), high=min(1.0, float(high)), level=resampling.level, method=method)


def _histograms(clusters_N: Ints, weights_RN: Floats, clusters: int) -> Floats:
    rows = [np.bincount(clusters_N, weights=weights_N, minlength=clusters) for weights_N in weights_RN]
    return np.stack(rows).astype(np.float64)
