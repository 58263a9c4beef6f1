"""Tags of tokens: token accuracy, and, where the tags mark entities, precision, recall and F1 of whole entities.

Entities are read from BIO, IOB2 and BIOES tags as conlleval does (an I that follows nothing of its type opens an entity) and as
seqeval does by default; a test compares. seqeval itself is not needed: it would bring scikit-learn for a class of warnings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from lmpipe.base.errors import SourceError
from lmpipe.evaluation.bootstrap import Floats
from lmpipe.evaluation.lengths import check_lengths
from lmpipe.evaluation.weighting import ClassCounts, weighted_sum

SCHEMA = {"label": pa.list_(pa.string()), "prediction": pa.list_(pa.string())}

ENTITY_TAG = re.compile(r"O|[BIES](-.+)?")
"""Parts of speech and the like mark no entities, though some of them begin with one of these letters."""
Entity = tuple[str, int, int]
"""Type, first token, last token."""


def tagged(labels: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> dict[str, Sequence[object]]:
    """Columns for a batch of per-sentence results.

    Raises:
        SourceError: when there are more or fewer sentences with predicted tags than with true ones, or a sentence has another
            number of predicted tags than of true ones.
    """
    check_lengths(predictions, labels=labels)
    for position, (true, predicted) in enumerate(zip(labels, predictions, strict=True)):
        if len(true) != len(predicted):
            raise SourceError(
                f"sentence {position} of the batch has {len(true)} tags and {len(predicted)} predicted ones",
                where=f"its true tags begin {' '.join(true[:5])!r}",
                expected="one predicted tag for each token",
                fix="predict for the words of the file as they are, without joining or cutting any",
            )
    return {"label": [list(tags) for tags in labels], "prediction": [list(tags) for tags in predictions]}


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities that tags spell.

    >>> entities(["B-PER", "I-PER", "O", "I-LOC"])
    [('PER', 0, 1), ('LOC', 3, 3)]
    """
    found: list[Entity] = []
    open_type, first, before = "", -1, "O"
    for position, tag in enumerate([*tags, "O"]):
        prefix, kind = tag[:1], tag[1:].removeprefix("-") or "_"
        inside = prefix in ("I", "E") and before in ("B", "I") and kind == open_type
        if first >= 0 and not inside:
            found.append((open_type, first, position - 1))
            first = -1
        if prefix in ("B", "S") or (prefix in ("I", "E") and not inside):
            open_type, first = kind, position
        before = prefix
    return found


class Tagging:
    """True and predicted tags of N sentences."""

    def __init__(self, labels: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> None:
        self._tokens = np.array([len(tags) for tags in labels], dtype=np.float64)
        same = [sum(t == p for t, p in zip(true, given, strict=True)) for true, given in zip(labels, predictions, strict=True)]
        self._right_tokens = np.array(same, dtype=np.float64)
        self._marks_entities = all(ENTITY_TAG.fullmatch(tag) for tag in {tag for tags in labels for tag in tags})
        sides = (labels, predictions) if self._marks_entities else ([()] * len(labels),) * 2
        true, predicted = ([set(entities(tags)) for tags in side] for side in sides)
        self.classes = tuple(sorted({entity[0] for side in (true, predicted) for found in side for entity in found}))
        right = [t & p for t, p in zip(true, predicted, strict=True)]
        self._placed = [_by_type(side, self.classes) for side in (right, true, predicted)]

    @classmethod
    def from_table(cls, table: pa.Table, classes: Sequence[str] = ()) -> Tagging:
        """From the columns that `tagged` gave."""
        return cls(table["label"].to_pylist(), table["prediction"].to_pylist())

    @property
    def count(self) -> int:
        """How many sentences there are."""
        return len(self._tokens)

    def zero_one(self) -> dict[str, Floats]:
        """Nothing: tokens of a sentence are not independent."""
        return {}

    def _counts(self, weights_RN: Floats) -> ClassCounts:
        sums = [
            np.stack([weights_RN[:, sentences].sum(axis=1) for sentences in by_type], axis=1)
            if by_type
            else np.zeros((len(weights_RN), 0))
            for by_type in self._placed
        ]
        return ClassCounts(*sums)

    def class_counts(self, weights_RN: Floats) -> dict[str, ClassCounts]:
        """Weighted counts of each type of entity."""
        counts = self._counts(weights_RN)
        return {name: counts.of(position) for position, name in enumerate(self.classes)}

    def values(self, weights_RN: Floats) -> dict[str, Floats]:
        """Every statistic for each row of weights."""
        accuracy = weighted_sum(weights_RN, self._right_tokens) / weighted_sum(weights_RN, self._tokens)
        if not self._marks_entities:
            return {"token_accuracy": accuracy}
        counts = self._counts(weights_RN)
        pooled = counts.micro()
        return {
            "token_accuracy": accuracy,
            "entity_precision": pooled.precision,
            "entity_recall": pooled.recall,
            "entity_f1": pooled.f1,
            "macro_entity_f1": counts.macro("f1"),
        }


def _by_type(found: Sequence[set[Entity]], classes: Sequence[str]) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """For each type the sentence of each of its entities, a sentence with two of them twice."""
    places: dict[str, list[int]] = {name: [] for name in classes}
    for sentence, own in enumerate(found):
        for kind, _, _ in own:
            places[kind].append(sentence)
    return [np.array(places[name], dtype=np.int64) for name in classes]
