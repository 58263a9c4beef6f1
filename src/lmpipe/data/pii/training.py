"""Training of the tagger of names and addresses: the `names` stage.

marked texts --> weights.npy, transitions.npy     whole numbers
            `--> tagger.json    {kinds, texts, heldout, scores: {kind: {precision, recall, f1, spans}}}: no text

Marked texts are JSON lines `{"text": ..., "spans": [{"start": 0, "end": 3, "label": "PERSON"}]}`; offsets count characters.
Texts fall on the held-out side by the hash of their words, so a text that stands twice never stands on both. A set made from
templates shares its templates across the sides, and its held-out figure is too good for other text.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmpipe.base.errors import SourceError
from lmpipe.base.files import storing, write_json
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed, unit_interval
from lmpipe.data.pii.config import NameKind, TaggerConfig
from lmpipe.data.pii.tagger import (
    BUCKETS,
    FACTS,
    NEVER,
    TRANSITIONS,
    WEIGHTS,
    Ints,
    Tagger,
    Tokens,
    allowed_transitions,
    best_paths,
    features_of,
    tags_of,
    tokens_of,
)
from lmpipe.data.readers.opening import open_decompressed, reading

SCALE = 1024
"""Averaged weights are rounded to this fraction."""
OVERLAP = 0.5
Spans = list[tuple[int, int, NameKind]]


@dataclass(frozen=True)
class Marked:
    """One text and what stands in it."""

    text: str
    spans: Spans


def train_tagger(
    files: Sequence[tuple[str, str]],
    output: Path,
    *,
    config: TaggerConfig,
    kinds: Sequence[NameKind],
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Train, measure on the held-out texts, and write.

    Args:
        files: (name, url) of the marked texts.
        output: an existing, empty folder.
        config: labels, rounds, held-out share.
        kinds: what is to be found.
        seed: of the order of the texts and of the held-out side.
        progress: told texts done.

    Returns:
        What is in `tagger.json`.

    Raises:
        SourceError: for a line that is no marked text, or no mark of a kind that is looked for.
    """
    marked = [one for name, url in files for one in _read(name, url, config.labels, kinds)]
    sides = [unit_interval(seed, "names", " ".join(one.text.split())) < config.heldout for one in marked]
    training = [one for one, out in zip(marked, sides, strict=True) if not out]
    heldout = [one for one, out in zip(marked, sides, strict=True) if out]
    _check(training, kinds)
    tagger = _trained(training, tuple(kinds), config.epochs, seed, progress)
    facts = {"kinds": list(kinds), "texts": len(training), "heldout": len(heldout), "scores": scores(tagger, heldout)}
    with storing(output):
        np.save(output / WEIGHTS, tagger.weights, allow_pickle=False)
        np.save(output / TRANSITIONS, tagger.transitions, allow_pickle=False)
    write_json(output / FACTS, facts)
    return facts


def scores(tagger: Tagger, marked: Sequence[Marked]) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 by kind; a span is found when one of its kind overlaps it by half of their union."""
    hits, extra, missed = Counter[str](), Counter[str](), Counter[str]()
    for one, found in zip(marked, tagger.find([one.text for one in marked]), strict=True):
        left = list(one.spans)
        for span in found:
            match = next((gold for gold in left if gold[2] == span[2] and _overlap(gold, span) >= OVERLAP), None)
            if match:
                left.remove(match)
            (hits if match else extra)[span[2]] += 1
        missed.update(kind for _, _, kind in left)
    return {kind: _score(hits[kind], extra[kind], missed[kind]) for kind in tagger.kinds}


def _score(hits: int, extra: int, missed: int) -> dict[str, float]:
    return {
        "precision": round(hits / max(1, hits + extra), 4),
        "recall": round(hits / max(1, hits + missed), 4),
        "f1": round(2 * hits / max(1, 2 * hits + extra + missed), 4),
        "spans": hits + missed,
    }


def _overlap(one: tuple[int, int, str], other: tuple[int, int, str]) -> float:
    return max(0, min(one[1], other[1]) - max(one[0], other[0])) / (max(one[1], other[1]) - min(one[0], other[0]))


def _read(name: str, url: str, labels: Mapping[str, NameKind], kinds: Sequence[NameKind]) -> Iterator[Marked]:
    """The marked texts of one file. A message names file and line, never the text."""
    with reading(name, url), open_decompressed(url) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                spans = [(span["start"], span["end"], labels.get(span["label"])) for span in row["spans"]]
                good = isinstance(row["text"], str) and all(0 <= start < end <= len(row["text"]) for start, end, _ in spans)
            except (ValueError, TypeError, KeyError):
                good = False
            if not good:
                raise SourceError(
                    "a line is no marked text",
                    where=f"{name}, line {number}",
                    expected='{"text": "...", "spans": [{"start": 0, "end": 3, "label": "PERSON"}]}, offsets within the text',
                )
            yield Marked(row["text"], [(start, end, kind) for start, end, kind in spans if kind in kinds and kind])


def _check(training: Sequence[Marked], kinds: Sequence[NameKind]) -> None:
    seen = {kind for one in training for _, _, kind in one.spans}
    missing = [kind for kind in kinds if kind not in seen]
    if missing:
        raise SourceError(
            f"the marked texts mark no {' and no '.join(missing)}",
            where="pii.names",
            expected="at least one span for each of the kinds among `entities`",
            fix="name the label that stands for it in `labels`, or take the kind out of `entities`",
        )


def _trained(training: Sequence[Marked], kinds: tuple[NameKind, ...], epochs: int, seed: int, progress: Progress) -> Tagger:
    """The averaged perceptron: mistakes move weights; the mean over all steps stays (Collins 2002, section 2)."""
    sequences = [sequence for one in training for sequence in _sequences(one, kinds)]
    allowed = allowed_transitions(kinds)
    tags = len(tags_of(kinds))
    weights, moved = np.zeros((BUCKETS, tags), np.int64), np.zeros((BUCKETS, tags), np.int64)
    ways, ways_moved = np.zeros((tags + 1, tags), np.int64), np.zeros((tags + 1, tags), np.int64)
    step = 0
    for epoch in range(epochs):
        random.Random(derive_seed(seed, "names", epoch)).shuffle(sequences)
        for features, gold in sequences:
            step += 1
            path = best_paths(weights[features].sum(1)[None], np.where(allowed, ways, NEVER), [len(gold)])[0]
            wrong = np.flatnonzero(path != gold)
            if len(wrong):
                for row in wrong:
                    for tag, change in ((gold[row], 1), (path[row], -1)):
                        np.add.at(weights, (features[row], tag), change)
                        np.add.at(moved, (features[row], tag), change * step)
                for route, change in ((gold, 1), (path, -1)):
                    before = np.concatenate([[tags], route[:-1]])
                    np.add.at(ways, (before, route), change)
                    np.add.at(ways_moved, (before, route), change * step)
        progress.update((epoch + 1) * len(training), epochs * len(training), "texts")
    averaged = _averaged(weights, moved, step).astype(np.int32)
    return Tagger(kinds, averaged, np.where(allowed, _averaged(ways, ways_moved, step), NEVER).astype(np.int32))


def _averaged(values: Ints, moved: Ints, steps: int) -> Ints:
    """Mean over all steps, in units of 1 / SCALE, by whole-number arithmetic alone."""
    return (values * (steps + 1) - moved) * SCALE // (steps + 1)


def _sequences(one: Marked, kinds: Sequence[NameKind]) -> Iterator[tuple[Ints, Ints]]:
    tokens = tokens_of([one.text])
    features, gold = features_of(tokens.words, tokens.borders), _gold(tokens, one.spans, kinds)
    for start, end in pairwise(tokens.borders):
        inside = gold[start:end].copy()
        if inside[0] and inside[0] % 2 == 0:  # a cut through a span: its rest begins anew
            inside[0] -= 1
        yield features[start:end], inside


def _gold(tokens: Tokens, spans: Spans, kinds: Sequence[NameKind]) -> Ints:
    """The tag of every token; one that a span covers by any part belongs to it."""
    gold: npt.NDArray[np.int64] = np.zeros(len(tokens.words), np.int64)
    for start, end, kind in sorted(spans):
        rows = [row for row, (_, first, last) in enumerate(tokens.spans) if first < end and last > start]
        begin = 1 + 2 * kinds.index(kind)
        gold[rows] = begin + 1
        gold[rows[:1]] = begin
    return gold
