"""Classifiers from corpora: the `classifier` stage, and scores by them: the `score` stage.

    positive/train, negative/train         --> weights.npy, classifier.json    {auc, auc_low, auc_high, ...}
positive/{validation,test}, ...        ^  (held out)
documents part-*.parquet, a classifier --> part-*.parquet                  id and `<kind>.score`, aligned with the documents
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lmpipe.base.errors import SourceError
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed, unit_interval
from lmpipe.data.documents import TableWriter, count_rows, part_name, read_tables, tables_of
from lmpipe.data.filters.classifier import (
    Features,
    Featuriser,
    area_under_curve,
    load_classifier,
    save_classifier,
    train_classifier,
)
from lmpipe.data.filters.trained_config import ClassifierConfig, IdentityConfig, LabelledConfig
from lmpipe.data.parts import PartTask, finish, run_over_parts
from lmpipe.data.tasks import Tick, save_ledger

HELD_OUT = ("validation", "test")
THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95)
ALL = "all"


@dataclass(frozen=True)
class Side:
    """Documents of a corpus that are split, and how it is told which of them are positive."""

    folder: Path
    """With `train`, `validation` and `test` in it."""
    positive: bool | LabelledConfig
    """All of them, none, or those whose label says so."""


def learn(
    sides: Sequence[Side],
    output: Path,
    *,
    config: ClassifierConfig,
    seed: int,
    progress: Progress,
    identity: Sequence[tuple[Path, IdentityConfig]] = (),
) -> dict[str, Any]:
    """Train a classifier, test it on what was held out, and on sets that speak of groups of people.

    Args:
        sides: what teaches.
        output: an existing, empty folder.
        config: how it is trained.
        seed: of samples and of the order.
        progress: told passes done.
        identity: folders of split corpora, with their labels.

    Returns:
        auc, auc_low, auc_high, examples, held_out: {positive, negative}, identity.

    Raises:
        SourceError: when one of the two kinds has no example, or a label is missing.
    """
    featuriser = Featuriser(config.buckets, config.word_ngrams)
    features, positive = _examples(sides, ("train",), featuriser, config.max_documents, seed, "training")
    progress.update(1, 3, "steps")
    classifier = train_classifier(features, positive, config, derive_seed(seed, "classifier"))
    progress.update(2, 3, "steps")
    held, truth = _examples(sides, HELD_OUT, featuriser, config.max_documents, seed, "held-out")
    area, low, high = area_under_curve(classifier.probabilities(held), truth)
    facts: dict[str, Any] = {
        "auc": area,
        "auc_low": low,
        "auc_high": high,
        "examples": _counts(positive),
        "held_out": _counts(truth),
        "identity": [
            _false_alarms(
                folder,
                part,
                HELD_OUT if any(side.folder == folder for side in sides) else ("train", *HELD_OUT),
                lambda texts: classifier.probabilities(featuriser.features(texts)),
            )
            for folder, part in identity
        ],
    }
    save_classifier(classifier, output, facts)
    progress.update(3, 3, "steps")
    return facts


def _counts(positive: Any) -> dict[str, int]:
    return {"positive": int(positive.sum()), "negative": int((~positive).sum())}


def _examples(
    sides: Sequence[Side], splits: Sequence[str], featuriser: Featuriser, most: int, seed: int, what: str
) -> tuple[Features, Any]:
    blocks, truth = [], []
    for side in sides:
        for split in splits:
            for texts, labels in _sample(side, side.folder / split, most, seed):
                blocks.append(featuriser.features(texts))
                truth += labels
    positive = np.array(truth, bool)
    if not positive.any() or positive.all():
        raise SourceError(
            f"a classifier has {positive.sum()} positive and {(~positive).sum()} negative {what} documents",
            where=", ".join(side.folder.name for side in sides),
            expected="some of both",
            fix="name corpora with more documents, or correct `label` and `toxic`",
        )
    lengths = np.concatenate([np.diff(block.borders) for block in blocks])
    borders = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Features(np.concatenate([block.buckets for block in blocks]), borders), positive


def _sample(side: Side, folder: Path, most: int, seed: int) -> Iterator[tuple[list[str], list[bool]]]:
    """(texts, which are positive) of row groups: each document is in by the hash of its id, so that order does not matter."""
    share = most / max(1, count_rows(folder))
    for table in read_tables(folder, ["id", "text", "meta"]):
        rows = zip(*(table.column(name).to_pylist() for name in ("id", "text", "meta")), strict=True)
        taken = [
            (text, meta) for identity, text, meta in rows if share >= 1 or unit_interval(seed, "example", identity) < share
        ]
        labels = [side.positive if isinstance(side.positive, bool) else is_toxic(meta, side.positive) for _, meta in taken]
        if taken:
            yield [text for text, _ in taken], labels


def is_toxic(meta: str, config: LabelledConfig) -> bool:
    """Whether a document's label says that it is toxic.

    Raises:
        SourceError: when its metadata hold no label.
    """
    values = json.loads(meta)
    if config.label not in values:
        raise SourceError(
            f"a document of '{config.on}' has no label '{config.label}'",
            expected=f"a key of its metadata; this one has: {', '.join(values) or 'none'}",
            fix=f"add `meta_columns: [{config.label}]` to the sources of '{config.on}', or correct `label`",
        )
    return str(values[config.label]) in config.toxic


def _false_alarms(folder: Path, config: IdentityConfig, splits: Sequence[str], score: Any) -> dict[str, Any]:
    """How many harmless documents about each group are called toxic, at several thresholds; those that taught left out."""
    scores: dict[str, list[float]] = {}
    for split in splits:
        for table in read_tables(folder / split, ["text", "meta"]):
            texts, metas = table.column("text").to_pylist(), table.column("meta").to_pylist()
            harmless = [(text, meta) for text, meta in zip(texts, metas, strict=True) if not is_toxic(meta, config)]
            for value, (_, meta) in zip(score([text for text, _ in harmless]).tolist(), harmless, strict=True):
                group = str(json.loads(meta).get(config.group, "")) if config.group else ALL
                for name in dict.fromkeys((group or "no group", ALL)):
                    scores.setdefault(name, []).append(value)
    rates = {group: _shares_above(np.array(values)) for group, values in sorted(scores.items())}
    return {"corpus": config.on, "groups": rates}


def _shares_above(values: Any) -> dict[str, float]:
    shares = {f"above_{bound:g}": round(float(np.mean(values > bound)), 6) for bound in THRESHOLDS}
    return {"documents": len(values), **shares}


def score_documents(
    documents: Path, model: Path, output: Path, *, kind: str, scratch: Path, progress: Progress, workers: int
) -> Ledger:
    """Score every document by a trained classifier.

    Args:
        documents: folder with parts of documents.
        model: what `learn` wrote.
        output: an existing, empty folder.
        kind: of the filter; names the column.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done.
        workers: at most so many processes; changes no byte.
    """
    folders = run_over_parts(_score_part, documents, (model, kind), scratch / "score", workers=workers, progress=progress)
    return finish(folders, output, "score")


def _score_part(task: PartTask, folder: Path, tick: Tick) -> None:
    model, kind = task.config
    classifier, ledger = load_classifier(model), Ledger()
    featuriser = classifier.featuriser()
    schema = pa.schema([("id", pa.string()), (f"{kind}.score", pa.float64())])
    with TableWriter(folder / part_name(0), schema) as writer:
        for table in tables_of(task.part, ["id", "text"]):
            texts = table.column("text").to_pylist()
            scores = classifier.probabilities(featuriser.features(texts))
            writer.write(pa.table([table.column("id").combine_chunks(), scores], schema=schema))
            for text in texts:
                ledger.keep(len(text))
            tick(table.num_rows)
    save_ledger(folder, ledger)
