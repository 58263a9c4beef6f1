"""One label for each text: accuracy, precision, recall, F1, MCC, AUROC, average precision, log loss, Brier score, ECE.

Legend of shape suffixes: N examples, C classes, R rows of weights.

Definitions where there is a choice: macro averages go over the classes that occur (true or predicted), as scikit-learn's do;
the micro average of a single-label task is its accuracy and is not repeated. AUROC and average precision are one class
against the rest, averaged over the classes that have both; with two classes the second one is the positive. The Brier score
of two classes is that of the positive one (0 to 1), of more the sum over classes (0 to 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lmpipe.base.errors import SourceError
from lmpipe.evaluation.bootstrap import Floats
from lmpipe.evaluation.calibration import calibration_error, equal_mass_bins, equal_width_bins
from lmpipe.evaluation.lengths import check_lengths
from lmpipe.evaluation.ranking import Ranking
from lmpipe.evaluation.weighting import ClassCounts, Integers, group_sums, ratio, weighted_mean

ECE_BINS = 15
"""Guo et al. 2017, section 2."""
SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)
"""Where log loss cuts off, as scikit-learn does: one confident error costs 36 nats and not infinity."""

SCHEMA = {
    "label": pa.string(),
    "prediction": pa.string(),
    "confidence": pa.float64(),
    "probabilities": pa.list_(pa.float64()),
}


def classified(
    classes: Sequence[str],
    labels: Sequence[str],
    *,
    probabilities_NC: npt.ArrayLike | None = None,
    predictions: Sequence[str] | None = None,
) -> dict[str, Sequence[object]]:
    """Columns for a batch of per-example results.

    Args:
        classes: names, in the order of the columns of `probabilities_NC`.
        labels: the true class of each example.
        probabilities_NC: of every class; without them, what needs probabilities is not measured.
        predictions: the class decided on; by default the most probable one.

    Raises:
        SourceError: when neither predictions nor probabilities are given, or probabilities are not probabilities.
    """
    if probabilities_NC is None:
        if predictions is None:
            raise SourceError("neither predictions nor probabilities were given", expected="one of them at least")
        check_lengths(predictions, labels=labels)
        return {"label": labels, "prediction": predictions}
    probabilities = np.asarray(probabilities_NC, dtype=np.float64)
    check_probabilities(probabilities, (len(labels), len(classes)))
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise SourceError("the probabilities of an example do not add up to one", expected="a softmax over all classes")
    index = {name: position for position, name in enumerate(classes)}
    chosen = [index[name] for name in predictions] if predictions is not None else probabilities.argmax(axis=1).tolist()
    return {
        "label": labels,
        "prediction": [classes[position] for position in chosen],
        "confidence": probabilities[np.arange(len(chosen)), chosen].tolist(),
        "probabilities": probabilities.tolist(),
    }


def check_probabilities(probabilities: Floats, shape: tuple[int, int]) -> None:
    """Raises `SourceError` when the shape is another one or a number lies outside 0 to 1."""
    if probabilities.shape != shape or not bool(np.all((probabilities >= 0) & (probabilities <= 1))):
        raise SourceError(
            f"probabilities of shape {probabilities.shape} between {probabilities.min()} and {probabilities.max()}",
            expected=f"shape {shape}, a row for each example and a column for each class, all between 0 and 1",
        )


class Classification:
    """Labels, predictions and (where given) probabilities of N examples."""

    def __init__(
        self, classes: Sequence[str], labels_N: Integers, predictions_N: Integers, probabilities_NC: Floats | None = None
    ) -> None:
        self.classes = tuple(classes)
        self._labels, self._predictions = labels_N, predictions_N
        self.right = labels_N == predictions_N
        self.confidence: Floats | None = None
        if probabilities_NC is not None:
            self._prepare(probabilities_NC)

    @classmethod
    def from_table(cls, table: pa.Table, classes: Sequence[str]) -> Classification:
        """From the columns that `classified` gave."""
        index = {name: position for position, name in enumerate(classes)}
        labels, predictions = (
            np.array([index[name] for name in table[column].to_pylist()], dtype=np.int64) for column in ("label", "prediction")
        )
        return cls(classes, labels, predictions, probabilities_of(table, len(classes)))

    def _prepare(self, probabilities_NC: Floats) -> None:
        rows = np.arange(len(self._labels))
        self._nats = -np.log(np.clip(probabilities_NC[rows, self._labels], SMALLEST_PROBABILITY, 1.0))
        truth_NC = np.zeros_like(probabilities_NC)
        truth_NC[rows, self._labels] = 1
        halved = 2 if len(self.classes) == 2 else 1
        self._squares = ((probabilities_NC - truth_NC) ** 2).sum(axis=1) / halved
        self.confidence = probabilities_NC[rows, self._predictions]
        self._excess = self.confidence - self.right
        self._bins = {
            "ece": equal_width_bins(self.confidence, ECE_BINS),
            "ece_equal_mass": equal_mass_bins(self.confidence, ECE_BINS),
        }
        asked = [1] if len(self.classes) == 2 else range(len(self.classes))
        self._rankings = [Ranking(self._labels == c, probabilities_NC[:, c]) for c in asked]

    @property
    def count(self) -> int:
        """How many examples there are."""
        return len(self._labels)

    def confusion(self) -> Integers:
        """How often each true class (row) was predicted as each class (column)."""
        matrix_CC = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)
        np.add.at(matrix_CC, (self._labels, self._predictions), 1)
        return matrix_CC

    def _counts(self, weights_RN: Floats) -> ClassCounts:
        classes = len(self.classes)
        right_only_N = np.where(self.right, self._labels, -1)
        groups = (right_only_N, self._labels, self._predictions)
        return ClassCounts(*(group_sums(weights_RN, group_N, classes) for group_N in groups))

    def class_counts(self, weights_RN: Floats) -> dict[str, ClassCounts]:
        """Weighted counts of each class."""
        counts = self._counts(weights_RN)
        return {name: counts.of(position) for position, name in enumerate(self.classes)}

    def zero_one(self) -> dict[str, Floats]:
        """Which examples are right."""
        return {"accuracy": self.right.astype(np.float64)}

    def values(self, weights_RN: Floats) -> dict[str, Floats]:
        """Every statistic for each row of weights."""
        counts = self._counts(weights_RN)
        values = {"accuracy": weighted_mean(weights_RN, self.right)}
        for score in ("precision", "recall", "f1"):
            values[f"macro_{score}"] = counts.macro(score)
            values[f"weighted_{score}"] = counts.weighted(score)
        values["mcc"] = _matthews(counts)
        if self.confidence is not None:
            values |= self._from_probabilities(weights_RN)
        return values

    def _from_probabilities(self, weights_RN: Floats) -> dict[str, Floats]:
        areas, averages = zip(*(ranking.scores(weights_RN) for ranking in self._rankings), strict=True)
        values = {
            "auroc": mean_where_known(areas),
            "average_precision": mean_where_known(averages),
            "log_loss": weighted_mean(weights_RN, self._nats),
            "brier": weighted_mean(weights_RN, self._squares),
        }
        for name, bins_N in self._bins.items():
            values[name] = calibration_error(weights_RN, bins_N, self._excess)
        return values


def probabilities_of(table: pa.Table, classes: int) -> Floats | None:
    """The column of probabilities as an array of shape (N, C); none where an example has none."""
    column = table["probabilities"].combine_chunks()
    if table.num_rows == 0 or column.null_count:
        return None
    flat: Floats = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(table.num_rows, classes)


def mean_where_known(values: Sequence[Floats]) -> Floats:
    """The mean over questions, leaving out those that a row of weights does not define; NaN where it defines none."""
    stacked = np.stack(values)
    known = ~np.isnan(stacked)
    return ratio(np.where(known, stacked, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))


def _matthews(counts: ClassCounts) -> Floats:
    """Gorodkin 2004: the correlation of truth and prediction over any number of classes; 0 where one of them is constant."""
    right, total = counts.right.sum(axis=1), counts.true.sum(axis=1)
    covariance = right * total - (counts.true * counts.predicted).sum(axis=1)
    spreads = [total**2 - (marginal**2).sum(axis=1) for marginal in (counts.true, counts.predicted)]
    return ratio(covariance, np.sqrt(spreads[0] * spreads[1]), undefined=0.0)
