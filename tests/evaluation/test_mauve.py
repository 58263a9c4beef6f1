"""MAUVE against closed forms: equal histograms, disjoint ones, a small curve by hand; and clusters that are plain to see."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr
from sklearn.cluster import KMeans

from lmpipe.evaluation.bootstrap import Resampling
from lmpipe.evaluation.mauve import MIXTURES, SCALE, area_under_curve, k_means, mauve, quantised

COUNTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8).filter(
    lambda pairs: sum(p for p, _ in pairs) > 0 and sum(q for _, q in pairs) > 0
)


def area(first: list[float], second: list[float]) -> float:
    return float(area_under_curve(np.array([first], float), np.array([second], float))[0])


def test_equal_histograms_are_one() -> None:
    assert area([1, 2, 3], [10, 20, 30]) == 1.0
    assert area([0, 5], [0, 1]) == 1.0


def test_disjoint_histograms_are_next_to_nothing() -> None:
    """Against r = a p + (1 - a) q the divergences are -ln a and -ln(1 - a): the curve is ((1 - a)^5, a^5), and the area
    under it 5 B(5, 6) = 1 / 252."""
    exact = SCALE * math.gamma(SCALE) * math.gamma(SCALE + 1) / math.gamma(2 * SCALE + 1)
    assert exact == pytest.approx(1 / 252)
    assert area([1, 0], [0, 1]) == pytest.approx(exact, rel=0.03), "25 mixtures"


def test_a_small_curve_by_hand() -> None:
    p, q = np.array([0.75, 0.25]), np.array([0.25, 0.75])
    points = [(1.0, 0.0)]
    for share in np.linspace(1e-6, 1 - 1e-6, MIXTURES):
        r = share * p + (1 - share) * q
        points.append((math.exp(-SCALE * rel_entr(q, r).sum()), math.exp(-SCALE * rel_entr(p, r).sum())))
    points.append((0.0, 1.0))
    by_hand = sum((a - c) * (b + d) / 2 for (a, b), (c, d) in pairwise(points))
    assert area([3, 1], [1, 3]) == pytest.approx(by_hand, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.randoms())
def test_a_share_that_knows_neither_order_nor_side(pairs: list[tuple[int, int]], chance) -> None:
    first, second = [float(p) for p, _ in pairs], [float(q) for _, q in pairs]
    value = area(first, second)
    assert 0 < value <= 1
    assert area(second, first) == pytest.approx(value, abs=1e-9)
    order = list(range(len(pairs)))
    chance.shuffle(order)
    assert area([first[i] for i in order], [second[i] for i in order]) == pytest.approx(value, abs=1e-9)


def test_the_interval_holds_the_number_and_the_seed_says_all() -> None:
    generator = np.random.default_rng(1)
    sides = generator.integers(0, 5, 200), np.minimum(generator.integers(0, 6, 200), 4)
    value, interval = mauve(*sides, Resampling(200, 0.95, 3, "examples"))
    assert interval is not None
    assert 0 <= interval.low < value < interval.high <= 1
    assert "200 examples, 200 resamples, seed 3" in interval.method
    assert mauve(*sides, Resampling(200, 0.95, 3, "examples")) == (value, interval)
    assert mauve(sides[0], sides[0], Resampling(200, 0.95, 3, "examples"))[0] == pytest.approx(1.0)
    assert mauve(sides[0][:1], sides[1][:1], Resampling())[1] is None


def blobs(count: int, centres: list[int], seed: int) -> np.ndarray:
    """Points near some of the corners of a cube in 8 dimensions."""
    generator = np.random.default_rng(seed)
    return np.eye(8)[generator.choice(centres, count)] + generator.normal(scale=0.01, size=(count, 8))


def test_the_same_places_are_near_and_others_far() -> None:
    here, also_here, there = blobs(100, [0, 1, 2], 1), blobs(100, [0, 1, 2], 2), blobs(100, [5, 6, 7], 3)
    near, far = quantised(here, also_here, clusters=None, seed=0), quantised(here, there, clusters=None, seed=0)
    resampling = Resampling(100, 0.95, 0, "examples")
    assert mauve(*far, resampling)[0] < 0.01
    assert mauve(*near, resampling)[0] > 0.5
    assert mauve(*quantised(here, also_here, clusters=3, seed=0), resampling)[0] > 0.95
    assert max(side.max() for side in near) < 10, "one cluster for ten texts"


def test_clusters_are_those_of_scikit_learn() -> None:
    points = blobs(120, [0, 2, 4, 6], 5)
    ours, theirs = k_means(points, 4, seed=1), KMeans(4, n_init=5, random_state=1).fit_predict(points)
    assert len({*zip(ours.tolist(), theirs.tolist(), strict=True)}) == 4, "the same groups under other numbers"


@pytest.mark.parametrize("points", [np.ones((4, 3)), np.zeros((4, 3)), np.eye(4)])
def test_few_or_equal_points(points: np.ndarray) -> None:
    found = quantised(points, points, clusters=6, seed=0)
    assert mauve(*found, Resampling(100))[0] == pytest.approx(1.0)
