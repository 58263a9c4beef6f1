"""Classes of whole texts: temperature and thresholds chosen on validation texts, what they are worth on others.

Those that belong to no class (out of scope) are left out of every number but what the threshold is worth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import SourceError
from lmpipe.base.files import write_json
from lmpipe.base.measures import Metric, write_metrics
from lmpipe.evaluation.calibration import (
    ScopeThreshold,
    at_temperature,
    choose_abstention,
    choose_scope_threshold,
    choose_temperature,
    measure_abstention,
    measure_scope_threshold,
)
from lmpipe.evaluation.classification import classified
from lmpipe.evaluation.multilabel import labelled
from lmpipe.evaluation.task_config import (
    LINEAR,
    ClassificationEvaluation,
)
from lmpipe.evaluation.task_work import Batches, TaskWork
from lmpipe.models.linear.model import LinearClassifier

DECISION = "decision.json"


def measure_single(work: TaskWork, config: ClassificationEvaluation, linear: LinearClassifier | None) -> list[Metric]:
    """One class for each text; those of no class only tell what the threshold is worth."""
    names, answers = work.examples.names, np.asarray(work.examples.answers)
    validation, known = work.logits(work.validation), np.asarray(work.validation.answers)
    inside, decision = known >= 0, dict[str, Any]()
    temperature = 1.0
    if config.calibrate and inside.any():
        chosen = choose_temperature(validation[inside], known[inside])
        temperature, decision["temperature"] = chosen.value, chosen.model_dump(mode="json")
    probabilities = at_temperature(work.logits(work.examples), temperature)
    on_validation = at_temperature(validation, temperature)
    metrics = work.measured("classification", _classified(work, probabilities, answers), names)
    sure, in_scope = probabilities.max(axis=1), answers >= 0
    if config.selective_accuracy is not None and inside.any():
        right = on_validation[inside].argmax(axis=1) == known[inside]
        wanted = choose_abstention(on_validation[inside].max(axis=1), right, accuracy=config.selective_accuracy)
        came = measure_abstention(
            wanted.threshold, sure[in_scope], probabilities[in_scope].argmax(axis=1) == answers[in_scope], level=config.level
        )
        decision["abstention"] = {"chosen": wanted.model_dump(mode="json"), "measured": came.model_dump(mode="json")}
    if not inside.all() and not in_scope.all():
        scope = choose_scope_threshold(on_validation[inside].max(axis=1), on_validation[~inside].max(axis=1))
        came_scope = measure_scope_threshold(scope.threshold, sure[in_scope], sure[~in_scope])
        decision["scope"] = {"chosen": scope.model_dump(mode="json"), "measured": came_scope.model_dump(mode="json")}
        metrics += _scope_metrics(config, came_scope, int(in_scope.sum()), int((~in_scope).sum()))
    if linear is not None:
        metrics += work.beside("classification", LINEAR, _by(linear, work, answers), linear.labels)
    write_metrics(work.output, metrics)
    write_json(work.output / DECISION, {"kind": "classification", **decision})
    return metrics


def _classified(work: TaskWork, probabilities_NL: NDArray[np.float64], answers_N: NDArray[np.int32]) -> Batches:
    names = work.examples.names
    if not (answers_N >= 0).any():
        raise SourceError("no held-out text belongs to a class", where=str(work.examples.folder), expected="one at least")
    for numbers, rows in work.batches(answers_N >= 0):
        labels = [names[answer] for answer in answers_N[numbers]]
        yield rows, classified(names, labels, probabilities_NC=probabilities_NL[numbers])


def _by(linear: LinearClassifier, work: TaskWork, answers_N: NDArray[np.int32]) -> Batches:
    """What the linear model says of the same texts."""
    for numbers, rows in work.batches(answers_N >= 0):
        labels = [work.examples.names[answer] for answer in answers_N[numbers]]
        yield rows, classified(linear.labels, labels, probabilities_NC=linear.probabilities([row.text for row in rows]))


def _scope_metrics(config: ClassificationEvaluation, came: ScopeThreshold, inside: int, outside: int) -> list[Metric]:
    subject = f"{config.on}.{config.split}"
    return [
        Metric(
            name=f"{subject}.{name}",
            value=value,
            unit="fraction",
            direction="higher",
            interval=interval,
            count=count,
            count_unit="examples",
        )
        for name, value, interval, count in (
            ("in_scope_kept", came.kept, came.kept_interval, inside),
            ("out_of_scope_recall", came.refused, came.refused_interval, outside),
        )
    ]


def measure_several(work: TaskWork) -> list[Metric]:
    """Any number of classes for each text: a class is given where it is more probable than not."""
    names, answers = work.examples.names, np.asarray(work.examples.answers)
    probabilities = 1 / (1 + np.exp(-work.logits(work.examples).astype(np.float64)))

    def batches() -> Batches:
        for numbers, rows in work.batches():
            labels = [[name for name, there in zip(names, answers[n], strict=True) if there] for n in numbers]
            yield rows, labelled(names, labels, probabilities_NL=probabilities[numbers])

    metrics = work.measured("multilabel", batches(), names)
    write_json(work.output / DECISION, {"kind": "multilabel", "threshold": 0.5})
    return metrics
