"""The area under the curve is that of the authors' `mauve-text`."""

from __future__ import annotations

import numpy as np
import pytest

from lmpipe.evaluation.mauve import area_under_curve

theirs = pytest.importorskip("mauve")


@pytest.mark.parametrize("seed", range(3))
def test_the_number_of_mauve_text(seed: int) -> None:
    """Of the histograms that it made itself: where the clusters lie depends on the start of k-means."""
    generator = np.random.default_rng(seed)
    vectors = [generator.normal(size=(80, 6)) + generator.normal(size=6) for _ in range(2)]
    found = theirs.compute_mauve(p_features=vectors[0], q_features=vectors[1], num_buckets=6, verbose=False, seed=1)
    ours = area_under_curve(found.p_hist[None], found.q_hist[None])
    assert float(ours[0]) == pytest.approx(found.mauve, abs=1e-9)
