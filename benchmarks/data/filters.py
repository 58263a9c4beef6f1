"""Gopher, C4 and FineWeb heuristics: megabytes per second and verdicts, beside datatrove's, one thread, alternating rounds.

    python benchmarks/data/filters.py TEXTS.jsonl [...] [--rounds 5] [--megabytes 4]

Runs in an environment with datatrove, spacy, nltk and this project's [data]. Three contenders, the same documents in memory:

    ours        scores of all four groups and every bound, in batches of 4 MB, a vocabulary that starts empty in each round
    as shipped  GopherRepetition, GopherQuality, C4Quality, FineWebQuality, each document through all four whatever the verdict
    at its best the same with words split at white space instead of by spaCy, and sentences by a regular expression: it then
                answers otherwise, so it only bounds what the tokenizer costs

Every filter judges the text as it came: datatrove's C4 filter changes it, ours never does. Verdicts are compared one by one.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from datatrove.data import Document
from datatrove.pipeline import filters as peer
from datatrove.utils import text as peer_text

from lmpipe.data.filters.batch import Batch, Vocabulary
from lmpipe.data.filters.config import C4Config, FinewebConfig, GopherQualityConfig, GopherRepetitionConfig
from lmpipe.data.filters.scores import columns_of
from lmpipe.data.filters.scoring import scorer_of

PRESETS = {
    "gopher_repetition": (GopherRepetitionConfig(), peer.GopherRepetitionFilter),
    "gopher_quality": (GopherQualityConfig(), peer.GopherQualityFilter),
    "c4": (C4Config(), peer.C4QualityFilter),
    "fineweb": (FinewebConfig(), peer.FineWebQualityFilter),
}
BATCH_CHARACTERS = 1 << 22


def read(paths: list[Path], megabytes: float) -> list[str]:
    texts, size = [], 0
    for path in paths:
        for line in path.open(encoding="utf-8"):
            text = json.loads(line)["text"]
            if text.strip() and size < megabytes * 1e6:
                texts.append(text)
                size += len(text.encode())
    return texts


def ours(texts: list[str]) -> dict[str, list[str]]:
    """The first rule that each text breaks, "" for none, by preset."""
    vocabulary = Vocabulary()
    scorers = {name: scorer_of(config.scores(), {}) for name, (config, _) in PRESETS.items()}
    verdicts: dict[str, list[str]] = {name: [] for name in PRESETS}
    for batch in batches(texts):
        seen = Batch(batch, vocabulary=vocabulary)
        for name, (config, _) in PRESETS.items():
            columns = dict(zip(columns_of(config.scores()), scorers[name](seen), strict=True))
            verdicts[name] += first_broken(config, columns, len(batch))
    return verdicts


def first_broken(config: Any, columns: dict[str, Any], count: int) -> list[str]:
    verdicts = [""] * count
    for rule in reversed(config.rules()):
        values = columns[rule.score]
        broken = values < rule.at_least if rule.at_least is not None else values > rule.at_most
        for place in broken.nonzero()[0]:
            verdicts[place] = rule.name
    return verdicts


def batches(texts: list[str]) -> Any:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def theirs(texts: list[str]) -> dict[str, list[str]]:
    rules = {name: make() for name, (_, make) in PRESETS.items()}
    verdicts: dict[str, list[str]] = {name: [] for name in rules}
    for number, text in enumerate(texts):
        for name, rule in rules.items():
            answer = rule.filter(Document(text=text, id=str(number)))
            verdicts[name].append("" if answer is True else answer[1])
    return verdicts


def theirs_without_spacy(texts: list[str]) -> dict[str, list[str]]:
    sentence = re.compile(r"(?<=[.!?])\s+")
    modules = {"words": lambda text, *_: text.split(), "sentences": lambda text, *_: sentence.split(text)}
    places = [
        (peer.gopher_quality_filter, "split_into_words", "words"),
        (peer.gopher_repetition_filter, "split_into_words", "words"),
        (peer.fineweb_quality_filter, "split_into_words", "words"),
        (peer.c4_filters, "split_into_sentences", "sentences"),
    ]
    before = [getattr(module, name) for module, name, _ in places]
    try:
        for module, name, which in places:
            setattr(module, name, modules[which])
        return theirs(texts)
    finally:
        for (module, name, _), function in zip(places, before, strict=True):
            setattr(module, name, function)


CONTENDERS: dict[str, Callable[[list[str]], dict[str, list[str]]]] = {
    "ours": ours,
    "datatrove as shipped": theirs,
    "datatrove at its best": theirs_without_spacy,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=float, default=4)
    options = parser.parse_args()
    texts = read(options.paths, options.megabytes)
    size = sum(len(text.encode()) for text in texts) / 1e6
    versions = {name: importlib.metadata.version(name) for name in ("datatrove", "spacy", "numpy", "pyarrow")}
    machine = platform.processor() or platform.machine()
    print(f"{len(texts)} documents, {size:.1f} MB; {machine}; {versions}; load {os.getloadavg()[0]:.1f}")
    peer_text.split_into_parts("Warm up.", "WORDS")
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    answers = {}
    for _ in range(options.rounds):
        for name, run in CONTENDERS.items():
            peer_text.split_into_parts.cache_clear()
            started = time.process_time()
            answers[name] = run(texts)
            rates[name].append(size / (time.process_time() - started))
    for name, found in rates.items():
        ratios = [a / b for a, b in zip(rates["ours"], found, strict=True)]
        print(
            f"{name:24} {statistics.median(found):7.2f} MB/s of processor time ({min(found):.2f} to {max(found):.2f}); "
            f"ours is {statistics.median(ratios):.1f}x ({min(ratios):.1f} to {max(ratios):.1f})"
        )
    for name in PRESETS:
        pairs = list(zip(texts, answers["ours"][name], answers["datatrove as shipped"][name], strict=True))
        differing = [(text, b) for text, a, b in pairs if bool(a) != bool(b)]
        longest = max((len(text.split()) for text, _ in differing), default=0)
        dropped = sum(bool(b) for _, _, b in pairs)
        print(
            f"{name:20} {len(pairs)} verdicts, datatrove drops {dropped}, {len(differing)} differ, in "
            f"texts of at most {longest} words: {dict(Counter(b for _, b in differing))}"
        )


if __name__ == "__main__":
    main()
