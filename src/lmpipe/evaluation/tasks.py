"""Evaluations of examples with answers: a network's answers beside the right ones, as per-example results and numbers.

    validation --> temperature, thresholds --> decision.json        chosen where nothing is reported
    test --------> answers ------------------> examples.parquet --> metrics.json, slices.json, ...
    train, test -> a linear model's answers -> linear/              the same numbers for the simple model

`decision.json` goes into the bundle: what was measured is what is served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import ModelError
from lmpipe.base.files import write_json
from lmpipe.base.measures import Metric, write_metrics
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.evaluation.bootstrap import Floats
from lmpipe.evaluation.extractive import extract
from lmpipe.evaluation.extractive_config import ExtractConfig
from lmpipe.evaluation.generation import generated
from lmpipe.evaluation.mauve import GENERATED, REFERENCE, Embedder, quantised
from lmpipe.evaluation.predicting import targets, word_tags
from lmpipe.evaluation.regression import regressed
from lmpipe.evaluation.retrieving import measure_retrieval
from lmpipe.evaluation.tagging import tagged
from lmpipe.evaluation.task_classes import DECISION, measure_several, measure_single
from lmpipe.evaluation.task_config import (
    HMM,
    AnyTaskEvaluation,
    ClassificationEvaluation,
    GenerationEvaluation,
    RegressionEvaluation,
    RetrievalEvaluation,
    TaggingEvaluation,
)
from lmpipe.evaluation.task_work import Asked, Batches, TaskWork
from lmpipe.models.hmm.tagger import Tagger
from lmpipe.models.linear.model import LinearClassifier
from lmpipe.models.network import Encoder, EncoderDecoder, Network
from lmpipe.tokens.examples import ExampleShards
from lmpipe.tokens.tokenizer import Tokenizer

EMBEDDED_AT_ONCE = 32
SEARCH = {"beams", "max_new_tokens", "length_penalty", "no_repeat_ngram", "long_texts"}
"""How targets are written: what is served writes them as they were measured."""


def evaluate_task(
    config: AnyTaskEvaluation,
    network: Network,
    *,
    tokenizer: Tokenizer,
    tokens: Path,
    asked: Callable[[], Iterator[Asked]],
    linear: LinearClassifier | None,
    tagger: Tagger | None,
    embed: Embedder | None,
    passages: Callable[[], Iterator[str]],
    start: Network | None,
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
        embed: of texts, where MAUVE is wanted.
        passages: of matches, what is searched.
        start: the network before it was trained, where that is a baseline.
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
    work = TaskWork(config, network, tokens, held_out, asked, output, seed, device, progress)
    if isinstance(config, ClassificationEvaluation):
        return measure_several(work) if held_out.several else measure_single(work, config, linear)
    if isinstance(config, RegressionEvaluation):
        return work.measured("regression", _scores(work))
    if isinstance(config, TaggingEvaluation):
        metrics = work.measured("tagging", _tags(work))
        metrics += work.beside("tagging", HMM, _tags_by(tagger, work)) if tagger is not None else []
    elif isinstance(config, RetrievalEvaluation):
        metrics = measure_retrieval(work, config, tokenizer, passages(), start)
    else:
        metrics = work.measured("generation", _grouped(work, config, _written(work, config, tokenizer, prefix), embed))
        for baseline in config.baselines:
            extracted = _grouped(work, config, _extracted(work, config, baseline), embed)
            metrics += work.beside("generation", baseline.name, extracted)
        write_json(output / DECISION, {"kind": "generation", **config.model_dump(mode="json", include=SEARCH)})
    write_metrics(output, metrics)
    return metrics


def _scores(work: TaskWork) -> Batches:
    answers, found = np.asarray(work.examples.answers), work.logits(work.examples)[:, 0]
    for numbers, rows in work.batches():
        yield rows, regressed(answers[numbers].tolist(), found[numbers].tolist())


def _tags(work: TaskWork) -> Batches:
    assert isinstance(work.network, Encoder), "check refuses other architectures"
    found = word_tags(work.network, work.examples, device=work.device, progress=work.progress)
    for numbers, rows in work.batches():
        # A word beyond the context has no tag, which counts as a wrong one.
        predicted = [found[n] + [""] * (len(row.tags) - len(found[n])) for n, row in zip(numbers, rows, strict=True)]
        yield rows, tagged([row.tags for row in rows], predicted)


def _tags_by(tagger: Tagger, work: TaskWork) -> Batches:
    """What the hidden Markov model says of the same sentences."""
    for _, rows in work.batches():
        yield rows, tagged([row.tags for row in rows], [tagger.tag(row.text.split(" ")) for row in rows])


def _written(work: TaskWork, config: GenerationEvaluation, tokenizer: Tokenizer, prefix: str) -> Batches:
    assert isinstance(work.network, EncoderDecoder), "check refuses other architectures"
    for _, rows in work.batches(_first(work, config)):
        texts = [row.text for row in rows]
        written = targets(work.network, tokenizer, texts, config, prefix=prefix, progress=work.progress)
        yield rows, generated(written, references=[row.references for row in rows], sources=texts)


def _extracted(work: TaskWork, config: GenerationEvaluation, baseline: ExtractConfig) -> Batches:
    """What a baseline takes from the same texts."""
    for _, rows in work.batches(_first(work, config)):
        references = [row.references for row in rows]
        found = [extract(baseline, row.text, row.references) for row in rows]
        yield rows, generated(found, references=references, sources=[row.text for row in rows])


def _grouped(work: TaskWork, config: GenerationEvaluation, batches: Batches, embed: Embedder | None) -> Batches:
    """The batches, where MAUVE is wanted with the clusters of texts and first references, for which all are kept in memory."""
    if config.mauve is None:
        yield from batches
        return
    assert embed is not None, "the stage brings an encoder where MAUVE is wanted"
    held = list(batches)
    written = _vectors([str(text) for _, columns in held for text in columns["prediction"]], embed)
    right = _vectors([row.references[0] for rows, _ in held for row in rows], embed)
    seed = derive_seed(work.seed, "mauve", config.on, config.split)
    found = quantised(written, right, clusters=config.mauve.clusters, seed=seed)
    start = 0
    for rows, columns in held:
        here = slice(start, start := start + len(rows))
        yield rows, {**columns, GENERATED: found[0][here].tolist(), REFERENCE: found[1][here].tolist()}


def _vectors(texts: Sequence[str], embed: Embedder) -> Floats:
    parts = [texts[start : start + EMBEDDED_AT_ONCE] for start in range(0, len(texts), EMBEDDED_AT_ONCE)]
    return np.concatenate([np.asarray(embed(part), np.float64) for part in parts])


def _first(work: TaskWork, config: GenerationEvaluation) -> NDArray[np.bool_]:
    return np.arange(len(work.examples)) < (config.limit or len(work.examples))
