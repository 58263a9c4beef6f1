"""Thresholds and temperature: chosen on validation data, measured on other data."""

from __future__ import annotations

import numpy as np
import pytest

from lmpipe.base.errors import SourceError
from lmpipe.evaluation.calibration import (
    at_temperature,
    calibration_error,
    choose_abstention,
    choose_scope_threshold,
    choose_temperature,
    equal_mass_bins,
    measure_abstention,
    measure_scope_threshold,
    reliability,
)
from lmpipe.evaluation.weighting import ones


def overconfident(count, seed, factor=4.0):
    """Logits that are `factor` times what would be calibrated, and labels drawn from the calibrated probabilities."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(size=(count, 4)) * 1.5
    probabilities = at_temperature(honest, 1.0)
    labels = np.array([rng.choice(4, p=row) for row in probabilities])
    return honest * factor, labels


def test_temperature_finds_the_factor_and_calibrates_other_data():
    found = choose_temperature(*overconfident(4000, 0))
    assert found.value == pytest.approx(4.0, rel=0.08)
    assert found.nats_after < found.nats_before
    logits, labels = overconfident(4000, 1)
    errors = []
    for temperature in (1.0, found.value):
        probabilities = at_temperature(logits, temperature)
        confidence = probabilities.max(1)
        excess = confidence - (probabilities.argmax(1) == labels)
        errors.append(float(calibration_error(ones(4000), equal_mass_bins(confidence, 15), excess)[0]))
    assert errors[1] < 0.03 < errors[0]


def test_log_probabilities_give_the_same_temperature():
    logits, labels = overconfident(300, 2)
    shifted = np.log(at_temperature(logits, 1.0))
    assert choose_temperature(logits, labels).value == pytest.approx(choose_temperature(shifted, labels).value)


def separable(count, classes, margin, seed=5):
    """Logits whose largest is always that of the true class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    return rng.random((count, classes)) + margin * np.eye(classes)[labels], labels


def test_without_an_error_answers_are_as_sure_as_so_few_examples_allow():
    for count in (2, 100):
        logits = np.eye(2)[np.arange(count) % 2]
        found = choose_temperature(logits, np.arange(count) % 2)
        doubt = 1 - at_temperature(logits, 1.0).max(axis=1)[0]
        left = 1 - at_temperature(logits, found.value).max(axis=1)
        assert left == pytest.approx(2 * doubt / (count + 2)), "two of n + 2 examples are the model's own doubt"


@pytest.mark.parametrize(("count", "classes", "margin"), [(20, 2, 1.0), (60, 2, 6.0), (100, 77, 9.0), (400, 3, 0.2)])
def test_separable_validation_data_are_never_told_worse(count, classes, margin):
    logits, labels = separable(count, classes, margin)
    found = choose_temperature(logits, labels)
    assert found.nats_after < found.nats_before
    assert 0.05 < found.value < 1


def test_abstention_answers_most_while_it_is_right_often_enough():
    rng = np.random.default_rng(0)
    confidence = rng.random(4000)
    right = rng.random(4000) < confidence
    chosen = choose_abstention(confidence, right, accuracy=0.8)
    assert chosen.interval.low >= 0.8
    assert chosen.selective_accuracy > 0.8
    assert chosen.threshold == pytest.approx(0.62, abs=0.05)  # right with probability c: the mean of (t, 1) is 0.8 at t = 0.6
    assert chosen.coverage == pytest.approx((confidence >= chosen.threshold).mean())
    fresh = rng.random(4000)
    again = measure_abstention(chosen.threshold, fresh, rng.random(4000) < fresh)
    assert again.selective_accuracy == pytest.approx(chosen.selective_accuracy, abs=0.04)


def test_nothing_is_answered_where_nothing_is_good_enough():
    chosen = choose_abstention([0.9, 0.8, 0.7], [True, False, True], accuracy=0.9)
    assert (chosen.coverage, chosen.selective_accuracy, chosen.interval) == (0.0, None, None)
    assert chosen.threshold > 0.9


def test_ties_are_answered_together():
    chosen = choose_abstention([0.5] * 100, [True] * 99 + [False], accuracy=0.9)
    assert (chosen.threshold, chosen.coverage) == (0.5, 1.0)


def test_scope_threshold_is_the_best_of_all():
    rng = np.random.default_rng(3)
    inside, outside = rng.normal(0.7, 0.2, 300), rng.normal(0.4, 0.2, 100)
    chosen = choose_scope_threshold(inside, outside)
    best = max((inside >= t).mean() + (outside < t).mean() for t in np.linspace(-1, 2, 3001))
    assert chosen.kept + chosen.refused >= best
    assert chosen == measure_scope_threshold(chosen.threshold, inside, outside)
    assert chosen.refused_interval.low < chosen.refused < chosen.refused_interval.high


def test_reliability_bars_hold_every_example_once():
    confidence = np.random.default_rng(4).random(150)
    bars = reliability(confidence, confidence > 0.5)
    assert [bar.count for bar in bars] == [10] * 15
    assert all(bar.low <= bar.confidence <= bar.high for bar in bars)
    assert sum(bar.accuracy * bar.count for bar in bars) == pytest.approx((confidence > 0.5).sum())


def test_nothing_to_choose_on_is_refused():
    with pytest.raises(SourceError):
        choose_temperature(np.zeros((0, 2)), [])
    with pytest.raises(SourceError):
        choose_abstention([], [], accuracy=0.9)
    with pytest.raises(SourceError):
        choose_scope_threshold([0.5], [])
