"""Multinomial logistic regression by L-BFGS, in numpy.

Minimises the mean cross-entropy + |weights|^2 / (2 cost texts), which is strictly convex in the weights: there is one best
model, and where the search began does not matter. L-BFGS with backtracking as in Nocedal and Wright (2006), algorithms 7.4, 7.5
and 3.1. Sums are taken in one order on one thread, so equal texts give equal models.

N texts, W features and the bias, K labels, Z filled places of the sparse matrix.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lmpipe.base.errors import TrainingError
from lmpipe.models.linear.config import LinearConfig
from lmpipe.models.linear.features import Floats, Ints, Rows, learn_vocabulary
from lmpipe.models.linear.model import LinearClassifier, log_softmax

REMEMBERED = 5
"""Steps behind the curvature estimate. With 40,000 features and 150 labels one step is 48 MB twice."""
SUFFICIENT_DECREASE = 1e-4


def train_linear(texts: Sequence[str], labels: Sequence[str], config: LinearConfig) -> LinearClassifier:
    """Fit a classifier.

    Args:
        texts: the training texts.
        labels: one for each; there must be two different ones at least.
        config: how.

    Raises:
        TrainingError: when lengths differ, there is one label, or no text has a word.
    """
    if len(texts) != len(labels):
        raise TrainingError(f"{len(texts):,} texts and {len(labels):,} labels", expected="one label for each text")
    names = tuple(sorted(set(labels)))
    if len(names) < 2:
        raise TrainingError(
            f"the training texts have {len(names)} different labels",
            expected="at least two",
            fix="give examples of another label",
        )
    vocabulary = learn_vocabulary(texts, config)
    if not vocabulary.terms:
        raise TrainingError("no training text has a word that counts", expected="texts with words", fix="lower `min_texts`")
    number = {name: place for place, name in enumerate(names)}
    labels_N = np.array([number[label] for label in labels], np.int64)
    loss = _Loss(vocabulary.rows(texts), labels_N, len(names), len(vocabulary.terms), config)
    weights = minimise(loss, np.zeros((len(vocabulary.terms) + 1) * len(names)), config.iterations, config.tolerance)
    weights_WK = np.ascontiguousarray(weights.reshape(len(names), -1).T.astype(np.float32))
    return LinearClassifier(vocabulary, names, weights_WK[:-1], weights_WK[-1])


@dataclass(frozen=True)
class _Loss:
    """The regularised mean loss over all texts, and its gradient; each label's last weight is its bias."""

    rows: Rows
    labels_N: Ints
    labels: int
    features: int
    config: LinearConfig

    def __call__(self, flat: Floats) -> tuple[float, Floats]:
        weights_KW = flat.reshape(self.labels, -1)
        gradient_KW = np.empty_like(weights_KW)
        columns_Z, values_Z, row_Z = self.rows.columns_Z, self.rows.values_Z, self.rows.row_Z
        # Label by label: a label's weights stay in the cache, and three times as fast as all labels of a feature at once.
        scores_KN = np.empty((self.labels, len(self.rows)))
        for label, weights_W in enumerate(weights_KW):
            scores_KN[label] = np.bincount(row_Z, weights_W[columns_Z] * values_Z, len(self.rows)) + weights_W[-1]
        log_probabilities_NK = log_softmax(scores_KN.T)
        share_N, places_N = self._shares(), np.arange(len(self.rows))
        loss = -float((share_N * log_probabilities_NK[places_N, self.labels_N]).sum())
        error_NK = np.exp(log_probabilities_NK)
        error_NK[places_N, self.labels_N] -= 1
        error_KN = np.ascontiguousarray((error_NK * share_N[:, None]).T)
        for label, error_N in enumerate(error_KN):
            gradient_KW[label, :-1] = np.bincount(columns_Z, error_N[row_Z] * values_Z, self.features)
            gradient_KW[label, -1] = error_N.sum()
        decay = 1 / (self.config.cost * len(self.labels_N))
        loss += decay / 2 * float((weights_KW[:, :-1] ** 2).sum())
        gradient_KW[:, :-1] += decay * weights_KW[:, :-1]
        return loss, gradient_KW.ravel()

    def _shares(self) -> Floats:
        """How much each text counts; they sum to 1."""
        counted_K = np.bincount(self.labels_N, minlength=self.labels)
        weight_K = 1 / (self.labels * counted_K) if self.config.balanced else np.full(self.labels, 1 / len(self.labels_N))
        return np.asarray(weight_K[self.labels_N])


def minimise(loss: Callable[[Floats], tuple[float, Floats]], start: Floats, iterations: int, tolerance: float) -> Floats:
    """The place where a convex function is least, by L-BFGS.

    Args:
        loss: value and gradient at a place.
        start: where to begin.
        iterations: steps, at most.
        tolerance: good enough when no entry of the gradient is larger.

    Raises:
        TrainingError: when the loss is not finite.
    """
    place = start
    value, gradient = loss(place)
    steps: deque[tuple[Floats, Floats, float]] = deque(maxlen=REMEMBERED)
    for _ in range(iterations):
        if not np.isfinite(value):
            raise TrainingError("the loss of the linear classifier is not finite", expected="a smaller `cost`")
        if float(np.abs(gradient).max()) <= tolerance:
            break
        direction = -_curved(gradient, steps)
        slope = float(direction @ gradient)
        # The first step has no curvature to go by: one of length one at most.
        length = 1.0 if steps else min(1.0, 1 / float(np.linalg.norm(gradient)))
        while True:
            next_place = place + length * direction
            next_value, next_gradient = loss(next_place)
            if next_value <= value + SUFFICIENT_DECREASE * length * slope or length < 1e-10:
                break
            length /= 2
        moved, turned = next_place - place, next_gradient - gradient
        curvature = float(moved @ turned)
        if curvature > 1e-12 * float(turned @ turned):
            steps.append((moved, turned, curvature))
        place, value, gradient = next_place, next_value, next_gradient
    return place


def _curved(gradient: Floats, steps: deque[tuple[Floats, Floats, float]]) -> Floats:
    """The gradient times the estimated inverse of the Hessian: the two loops of L-BFGS."""
    result = gradient.copy()
    factors = []
    for moved, turned, curvature in reversed(steps):
        factor = float(moved @ result) / curvature
        result -= factor * turned
        factors.append(factor)
    if steps:
        moved, turned, curvature = steps[-1]
        result *= curvature / float(turned @ turned)
    for (moved, turned, curvature), factor in zip(steps, reversed(factors), strict=True):
        result += (factor - float(turned @ result) / curvature) * moved
    return result
