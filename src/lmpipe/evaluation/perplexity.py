"""The perplexity evaluation as a whole: a model, its tokenizer and a split's token shards give metrics and their sums.

    token shards --+--> decoder ------> nats, right guesses --+
                   +--> n-gram, HMM --> nats -----------------+--> bootstrap --> metrics.json
    texts -----------> xz -----------> bytes -----------------+                  per_document.parquet (per_block.parquet)

All baselines speak of the same bytes: texts that differ from what the shards recorded are refused. Where a text does not come
back from its tokens (lower-cased, unknown words), bits per byte is left out: the model's share of it would be a bound that
flatters, and a gate must not rest on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmpipe.base.errors import ModelError, SourceError
from lmpipe.base.measures import Metric, write_metrics
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.evaluation.bootstrap import Floats, Resampling
from lmpipe.evaluation.compression import xz_size
from lmpipe.evaluation.config import PerplexityConfig
from lmpipe.evaluation.metrics import compression_metric, metrics_of
from lmpipe.evaluation.scoring import Scores, score_scorer, score_windows
from lmpipe.evaluation.subject import Subject
from lmpipe.evaluation.units import Units, lay_out, write_table
from lmpipe.models.api import Scorer
from lmpipe.tokens.documents import read_texts
from lmpipe.tokens.loader import evaluation_windows
from lmpipe.tokens.shards import TokenShards
from lmpipe.tokens.tokenizer import Tokenizer


def evaluate_perplexity(
    config: PerplexityConfig,
    subject: Subject,
    *,
    tokenizer: Tokenizer,
    shards: TokenShards,
    texts: Path | None,
    scorers: Mapping[str, Scorer],
    output: Path,
    seed: int,
    progress: Progress,
) -> list[Metric]:
    """Measure, and write `metrics.json` and the tables behind it into `output`.

    Args:
        config: what to measure.
        subject: the model.
        tokenizer: the one that made the shards.
        shards: the scored split's tokens.
        texts: folder with the scored split's parts; needed where `config` asks for xz.
        scorers: by kind, the baselines of `config` that learn from text, trained on the training split.
        output: an existing folder.
        seed: the recipe's; the bootstrap derives its own.
        progress: told after each batch.

    Raises:
        ModelError: when model, tokenizer, shards and texts are not of one making, or a probability is not a number.
        SourceError: when there is no document or a baseline's input is missing.
    """
    _check_fit(config, subject, tokenizer, shards, texts, scorers)
    spelled = tokenizer.spelling.table or [b""] * tokenizer.vocab_size
    units = lay_out(shards, spelled, drops_space=tokenizer.spelling.drops_space)
    if units.changed:
        progress.note(
            f"bits per byte is left out: {units.changed:,} of {shards.documents:,} documents do not come back from their "
            "tokens, and what the tokenizer forgets would count as predicted"
        )
    if units.block_tokens:
        progress.note(f"only {shards.documents} documents to score: intervals resample {units.name}, not documents")
    stride = max(1, round(config.stride_fraction * subject.context_length))
    windows = evaluation_windows(shards, subject.context_length, stride=stride)
    scores = score_windows(
        subject.decoder, windows, units, device=subject.device, progress=progress, tokens_at_once=subject.tokens_at_once
    )
    beside: dict[str, Floats] = {
        baseline.kind: score_scorer(scorers[baseline.kind], shards, units, progress=progress)
        for baseline in config.language_models()
    }
    metrics = _metrics(config, units, scores, beside, seed)
    metrics += _compression(config, units, texts)
    columns: dict[str, npt.NDArray[np.generic]] = {"nats": scores.nats_U, "correct": scores.correct_U}
    columns |= {f"{kind}_nats": nats_U for kind, nats_U in beside.items()}
    write_table(output, units, columns)
    write_metrics(output, metrics)
    return metrics


def _check_fit(
    config: PerplexityConfig,
    subject: Subject,
    tokenizer: Tokenizer,
    shards: TokenShards,
    texts: Path | None,
    scorers: Mapping[str, Scorer],
) -> None:
    if not tokenizer.vocab_size == shards.vocab_size <= subject.vocab_size:
        raise ModelError(
            f"ids of tokenizer, shards and model: {tokenizer.vocab_size:,}, {shards.vocab_size:,}, {subject.vocab_size:,}",
            expected="tokenizer, shards and model of one run",
        )
    missing: list[str] = [baseline.kind for baseline in config.language_models() if baseline.kind not in scorers]
    missing += ["xz"] if config.compressor() and texts is None else []
    if missing:
        raise SourceError(f"the baseline '{missing[0]}' was asked for, and its input was not given")


def _metrics(config: PerplexityConfig, units: Units, scores: Scores, beside: Mapping[str, Floats], seed: int) -> list[Metric]:
    own_seed = derive_seed(seed, "bootstrap", config.on, config.split) % 10**6  # short, because it stands in every interval
    resampling = Resampling(config.resamples, config.level, own_seed, units.name)
    sizes = {"tokens": units.tokens_U.astype(float)}
    if not units.changed:
        sizes["bytes"] = units.bytes_U.astype(float)
    own = {**sizes, "nats": scores.nats_U, "correct": scores.correct_U.astype(float)}
    metrics = metrics_of(own, resampling, corpus=config.on, split=config.split)
    for kind, nats_U in beside.items():
        metrics += metrics_of({**sizes, "nats": nats_U}, resampling, corpus=config.on, split=config.split, baseline=kind)
    return metrics


def _compression(config: PerplexityConfig, units: Units, texts: Path | None) -> list[Metric]:
    xz = config.compressor()
    if xz is None or texts is None:
        return []
    compressed = xz_size(read_texts(texts), xz.preset)
    if compressed.bytes_in != units.bytes_U.sum():
        raise ModelError(
            f"the texts have {compressed.bytes_in:,} bytes, and the shards were made from {int(units.bytes_U.sum()):,}",
            where=str(texts),
            expected="the texts that the shards were made from",
        )
    return [compression_metric(compressed, corpus=config.on, split=config.split)]
