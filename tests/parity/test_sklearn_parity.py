"""Our classification, regression and ranking numbers are scikit-learn's, with ties, missing classes and one class alone."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.evaluation.calibration import choose_temperature, equal_mass_bins
from lmpipe.evaluation.classification import Classification
from lmpipe.evaluation.multilabel import Multilabel
from lmpipe.evaluation.ranking import Ranking
from lmpipe.evaluation.regression import Regression
from lmpipe.evaluation.retrieval import Retrieval
from lmpipe.evaluation.weighting import ones

sklearn = pytest.importorskip("sklearn.metrics")
SEEDS = st.integers(0, 2**32 - 1)
SCORES = {"precision": sklearn.precision_score, "recall": sklearn.recall_score, "f1": sklearn.f1_score}
QUICK = settings(max_examples=60, deadline=None)


def single_label(seed: int) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Classes, labels, predictions, probabilities; some classes may never be true, and probabilities have ties."""
    rng = np.random.default_rng(seed)
    classes, count = int(rng.integers(2, 6)), int(rng.integers(1, 60))
    used = rng.choice(classes, int(rng.integers(1, classes + 1)), replace=False)
    labels = rng.choice(used, count)
    weights = rng.integers(1, 5, size=(count, classes)).astype(float)
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    return classes, labels, probabilities.argmax(axis=1), probabilities


def values(measured) -> dict[str, float]:
    return {name: float(value[0]) for name, value in measured.values(ones(measured.count)).items()}


@QUICK
@given(SEEDS)
def test_single_label(seed: int) -> None:
    classes, labels, predictions, probabilities = single_label(seed)
    ours = values(Classification([str(c) for c in range(classes)], labels, predictions, probabilities))
    assert ours["accuracy"] == pytest.approx(sklearn.accuracy_score(labels, predictions))
    for average in ("macro", "weighted"):
        for name, function in SCORES.items():
            theirs = function(labels, predictions, average=average, zero_division=0)
            assert ours[f"{average}_{name}"] == pytest.approx(theirs, abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one class alone
        assert ours["mcc"] == pytest.approx(sklearn.matthews_corrcoef(labels, predictions), abs=1e-12)
    every = list(range(classes))
    assert ours["log_loss"] == pytest.approx(sklearn.log_loss(labels, probabilities, labels=every))
    truth = np.eye(classes)[labels]
    squares = (
        sklearn.brier_score_loss(labels, probabilities[:, 1]) if classes == 2 else ((probabilities - truth) ** 2).sum(1).mean()
    )
    assert ours["brier"] == pytest.approx(squares)
    asked = [1] if classes == 2 else [c for c in every if 0 < (labels == c).sum() < len(labels)]
    if all(0 < (labels == c).sum() < len(labels) for c in asked) and asked:
        theirs = np.mean([sklearn.roc_auc_score(labels == c, probabilities[:, c]) for c in asked])
        assert ours["auroc"] == pytest.approx(theirs)
    present = [c for c in ([1] if classes == 2 else every) if (labels == c).any()]
    if present:
        theirs = np.mean([sklearn.average_precision_score(labels == c, probabilities[:, c]) for c in present])
        assert ours["average_precision"] == pytest.approx(theirs)


@QUICK
@given(SEEDS)
def test_each_class_and_the_confusion_matrix(seed: int) -> None:
    classes, labels, predictions, _ = single_label(seed)
    measured = Classification([str(c) for c in range(classes)], labels, predictions)
    counts = measured.class_counts(ones(len(labels)))
    for name, function in SCORES.items():
        theirs = function(labels, predictions, average=None, labels=range(classes), zero_division=0)
        ours = [float(getattr(counts[str(c)], name)[0]) for c in range(classes)]
        assert ours == pytest.approx(theirs.tolist())
    expected = sklearn.confusion_matrix(labels, predictions, labels=range(classes))
    np.testing.assert_array_equal(measured.confusion(), expected)


@QUICK
@given(SEEDS)
def test_weights_are_sample_weights(seed: int) -> None:
    """What bootstrap and permutation rest on: a row of weights gives scikit-learn's number for these sample weights."""
    classes, labels, predictions, probabilities = single_label(seed)
    weights = np.random.default_rng(seed).integers(0, 4, len(labels)).astype(float)
    if not weights.any():
        return
    measured = Classification([str(c) for c in range(classes)], labels, predictions, probabilities)
    ours = {name: float(value[0]) for name, value in measured.values(weights[None]).items()}
    drawn = np.repeat(np.arange(len(labels)), weights.astype(int))
    again = values(Classification(measured.classes, labels[drawn], predictions[drawn], probabilities[drawn]))
    for name in set(ours) - {"ece_equal_mass"}:  # its bins are those of the whole data
        assert ours[name] == pytest.approx(again[name], abs=1e-9, nan_ok=True), name


@QUICK
@given(SEEDS)
def test_binary_ranking_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive = rng.random(40) < 0.4
    scores = rng.integers(0, 6, 40) / 6
    ranking = Ranking(positive, scores)
    weights = rng.integers(0, 3, 40).astype(float)
    if 0 < (weights * positive).sum() < weights.sum():
        area, precision = ranking.scores(weights[None])
        assert float(area[0]) == pytest.approx(sklearn.roc_auc_score(positive, scores, sample_weight=weights))
        theirs = sklearn.average_precision_score(positive, scores, sample_weight=weights)
        assert float(precision[0]) == pytest.approx(theirs)


@QUICK
@given(SEEDS)
def test_several_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, classes = int(rng.integers(1, 40)), int(rng.integers(2, 6))
    truth, predicted = (rng.random((count, classes)) < rng.random() for _ in range(2))
    ours = values(Multilabel([str(c) for c in range(classes)], truth, predicted))
    assert ours["subset_accuracy"] == pytest.approx(sklearn.accuracy_score(truth, predicted))
    assert ours["hamming_loss"] == pytest.approx(sklearn.hamming_loss(truth, predicted))
    seen = [c for c in range(classes) if truth[:, c].any() or predicted[:, c].any()]
    for name, function in SCORES.items():
        for average in ("micro", "weighted"):
            theirs = function(truth, predicted, average=average, zero_division=0)
            if average == "micro" or truth.any():
                assert ours[f"{average}_{name}"] == pytest.approx(theirs, abs=1e-12)
        if seen:
            each = function(truth, predicted, average=None, zero_division=0)
            assert ours[f"macro_{name}"] == pytest.approx(np.mean(each[seen]))
    assert ours["samples_f1"] == pytest.approx(sklearn.f1_score(truth, predicted, average="samples", zero_division=0))


@QUICK
@given(SEEDS)
def test_numbers(seed: int) -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(-4, 5, 30) / 2, rng.integers(-4, 5, 30) / 2
    ours = values(Regression(labels, predictions))
    assert ours["mae"] == pytest.approx(sklearn.mean_absolute_error(labels, predictions))
    assert ours["rmse"] == pytest.approx(sklearn.root_mean_squared_error(labels, predictions))
    assert ours["r2"] == pytest.approx(sklearn.r2_score(labels, predictions))
    assert ours["pearson"] == pytest.approx(np.corrcoef(labels, predictions)[0, 1])
    assert ours["spearman"] == pytest.approx(spearmanr(labels, predictions).statistic)
    weights = rng.integers(0, 3, 30)
    drawn = np.repeat(np.arange(30), weights)
    weighted = Regression(labels, predictions).values(weights[None].astype(float))
    again = values(Regression(labels[drawn], predictions[drawn]))
    for name, value in again.items():
        assert float(weighted[name][0]) == pytest.approx(value, nan_ok=True), name


@QUICK
@given(SEEDS, st.integers(1, 8))
def test_ranked_results(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    gains = rng.integers(0, 4, 8).astype(float)
    gains[0] = 1.0
    ranking = rng.permutation(8)
    ours = values(Retrieval([gains[ranking].tolist()], [gains.tolist()], at=[k]))
    scores = np.empty(8)
    scores[ranking] = np.arange(8, 0, -1)
    assert ours[f"ndcg_at_{k}"] == pytest.approx(sklearn.ndcg_score(gains[None], scores[None], k=k))
    assert ours[f"recall_at_{k}"] == pytest.approx((gains[ranking][:k] > 0).sum() / (gains > 0).sum())
    first = int(np.flatnonzero(gains[ranking] > 0)[0])
    assert ours["mrr"] == pytest.approx(1 / (first + 1))


@QUICK
@given(SEEDS)
def test_calibration_error_is_that_of_a_plain_loop_over_bins(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.integers(1, 8, size=(50, 3)).astype(float)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = rng.integers(0, 3, 50)
    predictions = probabilities.argmax(axis=1)
    confidence, right = probabilities.max(axis=1), predictions == labels
    ours = values(Classification(["a", "b", "c"], labels, predictions, probabilities))
    total = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            total += inside.sum() / 50 * abs(confidence[inside].mean() - right[inside].mean())
    assert ours["ece"] == pytest.approx(total)


def test_bins_of_equal_mass_hold_equally_many() -> None:
    confidence = np.random.default_rng(0).random(150)
    bins = equal_mass_bins(confidence, 15)
    assert np.bincount(bins).tolist() == [10] * 15
    assert len(set(equal_mass_bins(np.full(40, 0.5), 15).tolist())) == 1


@QUICK
@given(SEEDS)
def test_temperature_is_where_the_loss_is_least(seed: int) -> None:
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax, softmax

    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 80)
    logits = rng.normal(size=(80, 3)) * rng.uniform(0.5, 8)
    logits[np.arange(80), labels] += rng.uniform(0.3, 3)

    wanted = (80 * np.eye(3)[labels] + 2 * softmax(logits, axis=1)) / 82  # two of 82 are the model's own doubt

    def loss(log_temperature: float, targets: Any) -> float:
        return float(-(targets * log_softmax(logits / np.exp(log_temperature), axis=1)).sum(axis=1).mean())

    found = choose_temperature(logits, labels)
    bounds = (np.log(0.01), np.log(100))
    best = minimize_scalar(loss, args=(wanted,), bounds=bounds, method="bounded", options={"xatol": 1e-8})
    assert loss(np.log(found.value), wanted) <= best.fun + 1e-9
    assert found.nats_before == pytest.approx(loss(0.0, np.eye(3)[labels]))
    assert found.nats_after <= found.nats_before + 1e-12
