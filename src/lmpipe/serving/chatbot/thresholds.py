"""From which probability on an intent, or a snippet, is believed: chosen on validation data, never on test data.

    threshold up:  fewer in-scope messages accepted ......  more out-of-scope messages found

The measures are those of Larson et al. 2019, "An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction":
in-scope accuracy (a refused message counts as wrong) and out-of-scope recall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import ServingError
from lmpipe.serving.chatbot.understanding_config import BestF1, FixedThreshold, KeptAccuracy

Floats = NDArray[np.float64]
CURVE_POINTS = 200


@dataclass(frozen=True)
class OperatingPoint:
    """What one threshold means."""

    threshold: float
    in_scope_accuracy: float
    """Share of in-scope messages that are accepted with the right intent."""
    accepted: float
    """Share of in-scope messages that are accepted."""
    recall: float
    """Share of out-of-scope messages that are refused."""
    precision: float
    """Share of refused messages that are out of scope; 1 where none is refused."""

    @property
    def f1(self) -> float:
        """Of finding out-of-scope messages."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


@dataclass(frozen=True)
class Choice:
    """A threshold, what it means on the data it was chosen on, and all that could have been chosen."""

    point: OperatingPoint
    reached: bool
    """Whether what was wanted was possible. Where it was not, the threshold is 0: everything is accepted."""
    curve: tuple[OperatingPoint, ...]
    """At most 200 points, from the lowest threshold to the highest."""


def operating_points(confidence_N: Floats, correct_N: NDArray[np.bool_], in_scope_N: NDArray[np.bool_]) -> list[OperatingPoint]:
    """What each threshold means at which something changes: 0, each confidence, and one above all.

    Args:
        confidence_N: of the most probable intent (or best snippet) of each message.
        correct_N: whether it is the right one; false for messages that are out of scope.
        in_scope_N: which messages are in scope.

    Raises:
        ServingError: when there is no in-scope message, or a confidence is not a number.
    """
    if not in_scope_N.any() or not np.isfinite(confidence_N).all():
        raise ServingError(
            "there is nothing to choose a threshold on",
            expected="validation messages that are in scope, each with a finite confidence",
        )
    thresholds_T = np.unique(np.concatenate([[0.0], confidence_N, [np.nextafter(confidence_N.max(), np.inf)]]))

    def below(confidences: Floats) -> NDArray[np.int64]:
        return np.asarray(np.searchsorted(np.sort(confidences), thresholds_T, side="left"))

    inside, outside = int(in_scope_N.sum()), int((~in_scope_N).sum())
    right = confidence_N[in_scope_N & correct_N]
    refused_inside_T, refused_outside_T = below(confidence_N[in_scope_N]), below(confidence_N[~in_scope_N])
    refused_T = refused_inside_T + refused_outside_T
    accurate_T = (len(right) - below(right)) / inside
    recall_T = refused_outside_T / max(outside, 1)
    precision_T = np.where(refused_T > 0, refused_outside_T / np.maximum(refused_T, 1), 1.0)
    columns = (thresholds_T, accurate_T, 1 - refused_inside_T / inside, recall_T, precision_T)
    return [OperatingPoint(*(float(number) for number in row)) for row in zip(*columns, strict=True)]


def choose_threshold(
    confidence_N: Floats,
    correct_N: NDArray[np.bool_],
    in_scope_N: NDArray[np.bool_],
    aim: FixedThreshold | BestF1 | KeptAccuracy,
) -> Choice:
    """The threshold that an aim asks for. Arguments as for `operating_points`.

    Raises:
        ServingError: as `operating_points`; and for `best_f1` without messages that are out of scope.
    """
    points = operating_points(confidence_N, correct_N, in_scope_N)
    curve = tuple(points[place] for place in np.unique(np.linspace(0, len(points) - 1, CURVE_POINTS).astype(int)))
    if isinstance(aim, FixedThreshold):
        # Everything between two confidences means the same: the next point at or above says what.
        at = next((point for point in points if point.threshold >= aim.value), points[-1])
        exact = OperatingPoint(aim.value, at.in_scope_accuracy, at.accepted, at.recall, at.precision)
        return Choice(exact, True, curve)
    if isinstance(aim, BestF1):
        if in_scope_N.all():
            raise ServingError(
                "no validation message is out of scope, so no threshold is best at finding such",
                expected="some messages that are none of the intents",
                fix="add some, or use `threshold: {kind: kept_accuracy, at_least: 0.95}`, which needs none",
            )
        best = max(points, key=lambda point: (point.f1, -point.threshold))
        return Choice(_between(points, best), True, curve)
    kept = [point for point in points if point.in_scope_accuracy >= aim.at_least]
    return Choice(_between(points, kept[-1]) if kept else points[0], bool(kept), curve)


def _between(points: Sequence[OperatingPoint], chosen: OperatingPoint) -> OperatingPoint:
    """The same point with its threshold in the middle of all that mean the same, so that no message lies at its edge:
    any threshold above the confidence before and up to this one refuses the same messages."""
    place = points.index(chosen)
    middle = (points[place - 1].threshold + chosen.threshold) / 2 if place else chosen.threshold
    rounded = float(f"{middle:.6g}")
    threshold = rounded if place and points[place - 1].threshold < rounded <= chosen.threshold else chosen.threshold
    return OperatingPoint(threshold, chosen.in_scope_accuracy, chosen.accepted, chosen.recall, chosen.precision)


def confidences(
    probabilities_NK: NDArray[np.floating], labels: Sequence[str], truth: Sequence[str]
) -> tuple[Floats, NDArray[np.bool_]]:
    """(confidence, whether right) of each message's most probable intent: what thresholds are chosen on.

    Args:
        probabilities_NK: of each message and label.
        labels: of the columns.
        truth: the right label of each message; any other word for messages that are out of scope.
    """
    best_N = probabilities_NK.argmax(axis=1)
    right_N = np.array([labels[best] == label for best, label in zip(best_N, truth, strict=True)], bool)
    return np.asarray(probabilities_NK.max(axis=1), np.float64), right_N
