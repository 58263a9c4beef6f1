"""Evaluations of examples with answers: a network's answers beside the right ones, as per-example results and numbers.

    validation --> temperature, thresholds --> decision.json        chosen where nothing is reported
    test --------> answers ------------------> examples.parquet --> metrics.json, slices.json, ...
    train, test -> a linear model's answers -> linear/              the same numbers for the simple model

`decision.json` goes into the bundle: what was measured is what is served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import ModelError, SourceError
from lmpipe.base.files import write_json
from lmpipe.base.measures import Metric
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.evaluation.calibration import (
    ScopeThreshold,
    at_temperature,
    choose_abstention,
    choose_scope_threshold,
    choose_temperature,
    measure_abstention,
    measure_scope_threshold,
)
from lmpipe.evaluation.catalogue import TaskKind
from lmpipe.evaluation.classification import classified
from lmpipe.evaluation.comparison import measure_lead
from lmpipe.evaluation.examples import ExampleLayout, ExampleWriter
from lmpipe.evaluation.extractive import extract
from lmpipe.evaluation.extractive_config import ExtractConfig
from lmpipe.evaluation.generation import generated
from lmpipe.evaluation.measuring import evaluate_examples
from lmpipe.evaluation.multilabel import labelled
from lmpipe.evaluation.perplexity import write_metrics
from lmpipe.evaluation.predicting import class_logits, targets, word_tags
from lmpipe.evaluation.regression import regressed
from lmpipe.evaluation.tagging import tagged
from lmpipe.evaluation.task_config import (
    HMM,
    LEAD,
    LINEAR,
    AnyTaskEvaluation,
    ClassificationEvaluation,
    GenerationEvaluation,
    RegressionEvaluation,
    TaggingEvaluation,
)
from lmpipe.models.hmm.tagger import Tagger
from lmpipe.models.linear.model import LinearClassifier
from lmpipe.models.network import Encoder, EncoderDecoder, Network
from lmpipe.tokens.examples import ExampleShards
from lmpipe.tokens.tokenizer import Tokenizer

DECISION = "decision.json"
SEARCH = {"beams", "max_new_tokens", "length_penalty", "no_repeat_ngram", "long_texts"}
"""How targets are written: what is served writes them as they were measured."""
BATCH = 1024


class Asked(NamedTuple):
    """One held-out example, as its document has it."""

    id: str
    text: str
    slices: tuple[str, ...]
    references: tuple[str, ...] = ()
    """Of pairs, every text that counts as right."""
    tags: tuple[str, ...] = ()


def evaluate_task(
    config: AnyTaskEvaluation,
    network: Network,
    *,
    tokenizer: Tokenizer,
    tokens: Path,
    asked: Callable[[], Iterator[Asked]],
    linear: LinearClassifier | None,
    tagger: Tagger | None,
    prefix: str,
    output: Path,
    seed: int,
    device: str,
    progress: Progress,
) -> list[Metric]:
    """Measure, and write what it came to into `output`.

    Args:
        config: what to measure.
        network: with the head that was trained.
        tokenizer: of the network.
        tokens: a tokenize stage's folder of examples.
        asked: the documents of the measured side, in their order.
        linear: trained on the training side; needed where `config` asks for it, of one class for each text.
        tagger: likewise, of tags.
        prefix: of pairs, put before every text.
        output: an existing folder.
        seed: the recipe's; the bootstrap derives its own.
        device: where the network is.
        progress: told what is done.

    Raises:
        ModelError: when the network has another head than the examples ask for, or an answer is not a number.
        SourceError: when there is no example.
    """
    held_out = ExampleShards(tokens / config.split)
    head = getattr(network, "head_config", None)
    if held_out.names and (head is None or head.kind == "language" or head.labels != held_out.names):
        raise ModelError(
            f"the model tells apart {', '.join(getattr(head, 'labels', ())) or 'nothing'}, and '{config.on}' has "
            f"{', '.join(held_out.names)}",
            where=f"evaluate: {config.kind} on {config.on}",
            expected="the classes or tags that the model was trained on",
            fix="evaluate the corpus that it was trained on, or give both the same names",
        )
    work = _Work(config, network, tokens, held_out, asked, output, seed, device, progress)
    if isinstance(config, ClassificationEvaluation):
        return _several(work) if held_out.several else _classes(work, config, linear)
    if isinstance(config, RegressionEvaluation):
        return work.measured("regression", _scores(work))
    if isinstance(config, TaggingEvaluation):
        metrics = work.measured("tagging", _tags(work))
        metrics += work.beside("tagging", HMM, _tags_by(tagger, work)) if tagger is not None else []
    else:
        metrics = work.measured("generation", _written(work, config, tokenizer, prefix))
        for baseline in config.baselines:
            metrics += work.beside("generation", baseline.name, _extracted(work, config, baseline))
        write_json(output / DECISION, {"kind": "generation", **config.model_dump(mode="json", include=SEARCH)})
    write_metrics(output, metrics)
    return metrics


Batches = Iterator[tuple[Sequence[Asked], Mapping[str, Sequence[object]]]]


class _Work(NamedTuple):
    """One evaluation's arguments."""

    config: AnyTaskEvaluation
    network: Network
    tokens: Path
    examples: ExampleShards
    asked: Callable[[], Iterator[Asked]]
    output: Path
    seed: int
    device: str
    progress: Progress

    def measured(self, kind: TaskKind, batches: Batches, classes: Sequence[str] = (), *, beside: str = "") -> list[Metric]:
        """Write per-example results and the numbers made of them; what stands `beside` the model has a folder of its own."""
        output = self.output / beside
        output.mkdir(exist_ok=True)
        layout = ExampleLayout(
            kind=kind,
            subject=".".join(part for part in (self.config.on, self.config.split, beside) if part),
            classes=tuple(classes),
            slices=self.config.slices,
            resamples=self.config.resamples,
            level=self.config.level,
            seed=derive_seed(self.seed, "bootstrap", self.config.on, self.config.split) % 10**6,
        )
        with ExampleWriter(output, layout) as writer:
            for rows, columns in batches:
                values = {name: [row.slices[n] for row in rows] for n, name in enumerate(self.config.slices)}
                writer.add([row.id for row in rows], columns, texts=[row.text for row in rows], slices=values)
        return evaluate_examples(output)

    def beside(self, kind: TaskKind, baseline: str, batches: Batches, classes: Sequence[str] = ()) -> list[Metric]:
        """The numbers of a baseline, and how far the model, measured before it, is ahead."""
        found = self.measured(kind, batches, classes, beside=baseline)
        name = LEAD.format(statistic=self.config.decisive, baseline=baseline)
        subject = f"{self.config.on}.{self.config.split}"
        return [*found, measure_lead(self.output / baseline, self.output, self.config.decisive, f"{subject}.{name}")]

    def batches(self, keep: NDArray[np.bool_] | None = None) -> Iterator[tuple[list[int], list[Asked]]]:
        """The documents, with their numbers, some at a time."""
        numbers, rows = [], []
        for number, row in enumerate(self.asked()):
            if keep is not None and not keep[number]:
                continue
            numbers.append(number)
            rows.append(row)
            if len(rows) == BATCH:
                yield numbers, rows
                numbers, rows = [], []
        if rows:
            yield numbers, rows

    def logits(self, examples: ExampleShards) -> NDArray[np.float32]:
        """Of every example, checked."""
        assert isinstance(self.network, Encoder), "check refuses other architectures"
        found = class_logits(self.network, examples, device=self.device, progress=self.progress)
        if not np.isfinite(found).all():
            raise ModelError(
                f"{int((~np.isfinite(found).all(axis=1)).sum()):,} answers are not finite numbers",
                expected="finite logits",
                fix="train again with a lower optimizer.lr",
            )
        return found

    @property
    def validation(self) -> ExampleShards:
        """Where thresholds are chosen."""
        return ExampleShards(self.tokens / "validation")


def _classes(work: _Work, config: ClassificationEvaluation, linear: LinearClassifier | None) -> list[Metric]:
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


def _classified(work: _Work, probabilities_NL: NDArray[np.float64], answers_N: NDArray[np.int32]) -> Batches:
    names = work.examples.names
    if not (answers_N >= 0).any():
        raise SourceError("no held-out text belongs to a class", where=str(work.examples.folder), expected="one at least")
    for numbers, rows in work.batches(answers_N >= 0):
        labels = [names[answer] for answer in answers_N[numbers]]
        yield rows, classified(names, labels, probabilities_NC=probabilities_NL[numbers])


def _by(linear: LinearClassifier, work: _Work, answers_N: NDArray[np.int32]) -> Batches:
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


def _several(work: _Work) -> list[Metric]:
    names, answers = work.examples.names, np.asarray(work.examples.answers)
    probabilities = 1 / (1 + np.exp(-work.logits(work.examples).astype(np.float64)))

    def batches() -> Batches:
        for numbers, rows in work.batches():
            labels = [[name for name, there in zip(names, answers[n], strict=True) if there] for n in numbers]
            yield rows, labelled(names, labels, probabilities_NL=probabilities[numbers])

    metrics = work.measured("multilabel", batches(), names)
    write_json(work.output / DECISION, {"kind": "multilabel", "threshold": 0.5})
    return metrics


def _scores(work: _Work) -> Batches:
    answers, found = np.asarray(work.examples.answers), work.logits(work.examples)[:, 0]
    for numbers, rows in work.batches():
        yield rows, regressed(answers[numbers].tolist(), found[numbers].tolist())


def _tags(work: _Work) -> Batches:
    assert isinstance(work.network, Encoder), "check refuses other architectures"
    found = word_tags(work.network, work.examples, device=work.device, progress=work.progress)
    for numbers, rows in work.batches():
        # A word beyond the context has no tag, which counts as a wrong one.
        predicted = [found[n] + [""] * (len(row.tags) - len(found[n])) for n, row in zip(numbers, rows, strict=True)]
        yield rows, tagged([row.tags for row in rows], predicted)


def _tags_by(tagger: Tagger, work: _Work) -> Batches:
    """What the hidden Markov model says of the same sentences."""
    for _, rows in work.batches():
        yield rows, tagged([row.tags for row in rows], [tagger.tag(row.text.split(" ")) for row in rows])


def _written(work: _Work, config: GenerationEvaluation, tokenizer: Tokenizer, prefix: str) -> Batches:
    assert isinstance(work.network, EncoderDecoder), "check refuses other architectures"
    for _, rows in work.batches(_first(work, config)):
        texts = [row.text for row in rows]
        written = targets(work.network, tokenizer, texts, config, prefix=prefix, progress=work.progress)
        yield rows, generated(written, references=[row.references for row in rows], sources=texts)


def _extracted(work: _Work, config: GenerationEvaluation, baseline: ExtractConfig) -> Batches:
    """What a baseline takes from the same texts."""
    for _, rows in work.batches(_first(work, config)):
        references = [row.references for row in rows]
        found = [extract(baseline, row.text, row.references) for row in rows]
        yield rows, generated(found, references=references, sources=[row.text for row in rows])


def _first(work: _Work, config: GenerationEvaluation) -> NDArray[np.bool_]:
    return np.arange(len(work.examples)) < (config.limit or len(work.examples))
