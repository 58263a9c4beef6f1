"""Part-of-speech tagging of UD English EWT: our trigram tagger beside NLTK's `TnT`, the same sentences, in turn.

    python benchmarks/models/tagging.py DATA --peer PYTHON     PYTHON: one that has nltk; left out, only ours is measured
    DATA holds train.conllu.gz, dev.conllu.gz and test.conllu.gz

NLTK's has no rule for unknown words of its own; it gets its suffix tagger (three letters), trained on the same sentences, and
looks at capitals. Prints the share of words tagged right, of unknown words too, and processor seconds of training and tagging
(median of the rounds, least and most).
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

Tagged = list[tuple[str, str]]


def sentences(path: Path) -> list[Tagged]:
    """Words with their universal tags."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        blocks = file.read().split("\n\n")
    rows = [[line.split("\t") for line in block.splitlines() if line and line[0] != "#"] for block in blocks]
    found = [[(row[1], row[3]) for row in block if row[0].isdigit()] for block in rows]
    return [sentence for sentence in found if sentence]


def ours(smoothing: str, train: list[Tagged], test: list[Tagged]) -> dict[str, Any]:
    from lmpipe.models.hmm.config import TaggerConfig
    from lmpipe.models.hmm.tagger import train_tagger

    config = TaggerConfig.model_validate({"smoothing": smoothing})
    return measure(train, test, lambda: train_tagger(train, config), lambda model, words: model.tag(words))


def nltk_tnt(train: list[Tagged], test: list[Tagged]) -> dict[str, Any]:
    from nltk.tag import AffixTagger, DefaultTagger
    from nltk.tag.tnt import TnT

    def learn() -> TnT:
        unknown = AffixTagger(train, affix_length=-3, min_stem_length=0, backoff=DefaultTagger("NOUN"))
        tagger = TnT(unk=unknown, Trained=True, C=True)
        tagger.train(train)
        return tagger

    return measure(train, test, learn, lambda model, words: [tag for _, tag in model.tag(words)])


def measure(
    train: list[Tagged], test: list[Tagged], learn: Callable[[], Any], tag: Callable[[Any, list[str]], list[str]]
) -> dict[str, Any]:
    known = {word for sentence in train for word, _ in sentence}
    started = time.process_time()
    model = learn()
    tag(model, ["Tyrannosaurus"])  # what is worked out on first use is part of learning
    learned = time.process_time()
    pairs = [
        (gold, found == gold, word in known)
        for sentence in test
        for (word, gold), found in zip(sentence, tag(model, [word for word, _ in sentence]), strict=True)
    ]
    unknown = [right for _, right, seen in pairs if not seen]
    return {
        "right": sum(right for _, right, _ in pairs) / len(pairs),
        "unknown_right": sum(unknown) / len(unknown),
        "words": len(pairs),
        "train_seconds": learned - started,
        "tag_seconds": time.process_time() - learned,
    }


def peer(python: str, data: Path, split: str) -> dict[str, Any]:
    command = [python, __file__, str(data), "--split", split, "--as-peer"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer", default="")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--split", default="test")
    parser.add_argument("--as-peer", action="store_true")
    asked = parser.parse_args()
    train, test = sentences(asked.data / "train.conllu.gz"), sentences(asked.data / f"{asked.split}.conllu.gz")
    if asked.as_peer:
        print(json.dumps({**nltk_tnt(train, test), "version": version("nltk")}))
        return
    results: dict[str, list[dict[str, Any]]] = {}
    for _ in range(asked.rounds):
        for smoothing in ("deleted_interpolation", "witten_bell"):
            results.setdefault(f"ours, {smoothing}", []).append(ours(smoothing, train, test))
        if asked.peer:
            found = peer(asked.peer, asked.data, asked.split)
            results.setdefault(f"NLTK {found.pop('version')} TnT", []).append(found)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {len(train):,} sentences to train on, {asked.split}"
    )
    for name, rounds in results.items():
        times = [[one[key] for one in rounds] for key in ("train_seconds", "tag_seconds")]
        shown = [f"{statistics.median(each):.2f} s [{min(each):.2f}, {max(each):.2f}]" for each in times]
        first = rounds[0]
        print(f"{name}: {first['right']:.2%} of {first['words']:,} words, {first['unknown_right']:.2%} of the unknown; "
              f"training {shown[0]}, tagging {shown[1]}")  # fmt: skip


if __name__ == "__main__":
    main()
