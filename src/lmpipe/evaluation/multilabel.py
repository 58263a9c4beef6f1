"""Any number of labels for each text: subset accuracy, Hamming loss, precision, recall and F1 averaged in four ways, AUROC.

Legend of shape suffixes: N examples, L labels, R rows of weights.

Averages over labels go over the labels that occur (true or predicted). AUROC and average precision are the mean over the
labels that have both positive and negative examples.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lmpipe.base.errors import SourceError
from lmpipe.evaluation.bootstrap import Floats
from lmpipe.evaluation.classification import check_probabilities, mean_where_known, probabilities_of
from lmpipe.evaluation.lengths import check_lengths
from lmpipe.evaluation.ranking import Ranking
from lmpipe.evaluation.weighting import Booleans, ClassCounts, weighted_mean

SCHEMA = {
    "label": pa.list_(pa.string()),
    "prediction": pa.list_(pa.string()),
    "probabilities": pa.list_(pa.float64()),
}


def labelled(
    classes: Sequence[str],
    labels: Sequence[Collection[str]],
    *,
    probabilities_NL: npt.ArrayLike | None = None,
    predictions: Sequence[Collection[str]] | None = None,
    threshold: float = 0.5,
) -> dict[str, Sequence[object]]:
    """Columns for a batch of per-example results.

    Args:
        classes: names, in the order of the columns of `probabilities_NL`.
        labels: the true labels of each example; may be none.
        probabilities_NL: of each label by itself.
        predictions: the labels decided on; by default those of at least `threshold`.
        threshold: used where `predictions` are not given.

    Raises:
        SourceError: when neither predictions nor probabilities are given, or a number is no probability.
    """
    columns: dict[str, Sequence[object]] = {"label": [sorted(names) for names in labels]}
    if probabilities_NL is not None:
        probabilities = np.asarray(probabilities_NL, dtype=np.float64)
        check_probabilities(probabilities, (len(labels), len(classes)))
        columns["probabilities"] = probabilities.tolist()
        if predictions is None:
            predictions = [[name for name, p in zip(classes, row, strict=True) if p >= threshold] for row in probabilities]
    if predictions is None:
        raise SourceError("neither predictions nor probabilities were given", expected="one of them at least")
    check_lengths(predictions, labels=labels)
    columns["prediction"] = [sorted(names) for names in predictions]
    return columns


class Multilabel:
    """True and predicted labels, and where given the probabilities, of N examples."""

    def __init__(
        self, classes: Sequence[str], truth_NL: Booleans, predicted_NL: Booleans, probabilities_NL: Floats | None = None
    ) -> None:
        self.classes = tuple(classes)
        self._truth, self._predicted = truth_NL, predicted_NL
        self._wrong = (truth_NL != predicted_NL).sum(axis=1)
        both, either = (truth_NL & predicted_NL).sum(axis=1), truth_NL.sum(axis=1) + predicted_NL.sum(axis=1)
        self._f1 = np.where(either > 0, 2 * both / np.maximum(either, 1), 0.0)
        self._rankings = (
            [] if probabilities_NL is None else [Ranking(truth_NL[:, c], probabilities_NL[:, c]) for c in range(len(classes))]
        )

    @classmethod
    def from_table(cls, table: pa.Table, classes: Sequence[str]) -> Multilabel:
        """From the columns that `labelled` gave."""
        truth, predicted = (_indicators(table[column].to_pylist(), classes) for column in ("label", "prediction"))
        return cls(classes, truth, predicted, probabilities_of(table, len(classes)))

    @property
    def count(self) -> int:
        """How many examples there are."""
        return len(self._truth)

    def _counts(self, weights_RN: Floats) -> ClassCounts:
        masks = (self._truth & self._predicted, self._truth, self._predicted)
        sums = [np.stack([weights_RN[:, mask].sum(axis=1) for mask in mask_NL.T], axis=1) for mask_NL in masks]
        return ClassCounts(*sums)

    def class_counts(self, weights_RN: Floats) -> dict[str, ClassCounts]:
        """Weighted counts of each label."""
        counts = self._counts(weights_RN)
        return {name: counts.of(position) for position, name in enumerate(self.classes)}

    def zero_one(self) -> dict[str, Floats]:
        """Which examples have exactly the right labels."""
        return {"subset_accuracy": (self._wrong == 0).astype(np.float64)}

    def values(self, weights_RN: Floats) -> dict[str, Floats]:
        """Every statistic for each row of weights."""
        counts = self._counts(weights_RN)
        pooled = counts.micro()
        values = {
            "subset_accuracy": weighted_mean(weights_RN, self._wrong == 0),
            "hamming_loss": weighted_mean(weights_RN, self._wrong / len(self.classes)),
        }
        for score in ("precision", "recall", "f1"):
            values[f"macro_{score}"] = counts.macro(score)
            values[f"micro_{score}"] = getattr(pooled, score)
            values[f"weighted_{score}"] = counts.weighted(score)
        values["samples_f1"] = weighted_mean(weights_RN, self._f1)
        if self._rankings:
            areas, averages = zip(*(ranking.scores(weights_RN) for ranking in self._rankings), strict=True)
            values |= {"auroc": mean_where_known(areas), "average_precision": mean_where_known(averages)}
        return values


def _indicators(names: Sequence[Sequence[str]], classes: Sequence[str]) -> Booleans:
    index = {name: position for position, name in enumerate(classes)}
    indicators_NL = np.zeros((len(names), len(classes)), dtype=np.bool_)
    for row, chosen in enumerate(names):
        indicators_NL[row, [index[name] for name in chosen]] = True
    return indicators_NL
