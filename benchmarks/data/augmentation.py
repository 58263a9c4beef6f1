"""Does keyboard augmentation make a classifier robust to typing errors? And how fast is it, beside nlpaug?

    python benchmarks/data/augmentation.py SST2

SST2: a folder with `train.tsv` and `test.tsv`, each line a sentence, a tab, and 0 or 1. Needs scikit-learn and nlpaug, which
are no dependencies of the project.

Two linear classifiers (logistic regression on tf-idf of words and pairs of words; of 2 to 5 characters within words) are
trained on the plain sentences, on these and one copy of each by us, and on these and one copy of each by nlpaug's
KeyboardAug. Each is tested on clean sentences and on sentences in which one letter in twenty or in ten is mistyped, by a rule
of neither of the two: a letter is left out, doubled, exchanged with the next, or replaced by any letter, all equally often.
Three seeds for copies and for test errors; the interval is that of the mean gain over plain training (paired bootstrap over
test sentences).
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import string
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import nlpaug
import nlpaug.augmenter.char as nac
import numpy as np
import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from lmpipe.data.augmentation.chance import stream_of
from lmpipe.data.augmentation.keyboard import mistype

SEEDS = (1, 2, 3)
TEST_RATES = (0.0, 0.05, 0.1)
RATE = 0.05
ERRORS = ("substitute", "insert", "delete", "transpose")
ROUNDS = 5
RESAMPLES = 2000


def read(path: Path) -> tuple[list[str], list[int]]:
    rows = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    return [text for text, _ in rows], [int(label) for _, label in rows]


def ours(texts: Sequence[str], seed: int) -> list[str]:
    return [
        mistype(text, "qwerty", RATE, ERRORS, stream_of(seed, "keyboard", str(number), 0)) for number, text in enumerate(texts)
    ]


def peers(texts: Sequence[str], seed: int) -> list[str]:
    """nlpaug with as many errors: it puts at least one into every word that it touches, so it touches fewer words (measured:
    one letter in twenty)."""
    random.seed(seed)
    np.random.seed(seed)
    augmenter = nac.KeyboardAug(
        aug_char_p=RATE, aug_word_p=0.18, aug_char_min=0, aug_word_min=0, aug_word_max=None, aug_char_max=None,
        include_special_char=False, include_numeric=False, include_upper_case=False, min_char=1,
    )  # fmt: skip
    return [str(augmenter.augment(text)[0]) for text in texts]


def with_errors(text: str, rate: float, stream: random.Random) -> str:
    """Errors of typing that know no keyboard."""
    out = []
    skip = False
    for letter, following in zip(text, [*text[1:], ""], strict=True):
        if skip or not letter.isalpha() or stream.random() >= rate:
            out.append("" if skip else letter)
            skip = False
            continue
        error = stream.randrange(4)
        skip = error == 2 and following.isalpha()
        out.append(("", letter * 2, following + letter if skip else letter, stream.choice(string.ascii_lowercase))[error])
    return "".join(out)


def classifiers() -> dict[str, Callable[[], Any]]:
    words = {"ngram_range": (1, 2), "min_df": 2, "sublinear_tf": True}
    characters = {"analyzer": "char_wb", "ngram_range": (2, 5), "min_df": 2, "sublinear_tf": True}
    return {
        name: lambda settings=settings: make_pipeline(TfidfVectorizer(**settings), LogisticRegression(C=4, max_iter=1000))
        for name, settings in (("words", words), ("characters", characters))
    }


def effect(train: tuple[list[str], list[int]], test: tuple[list[str], list[int]]) -> None:
    labels = np.array(test[1])
    print("| classifier | test letters mistyped | plain | ours: gain | nlpaug: gain |\n|---|---|---|---|---|")
    for name, make in classifiers().items():
        right: dict[tuple[str, float], list[Any]] = {}
        for seed in SEEDS:
            texts = {"plain": [], "ours": ours(train[0], seed), "nlpaug": peers(train[0], seed)}
            for how, copies in texts.items():
                model = make().fit(train[0] + copies, train[1] * (2 if copies else 1))
                for rate in TEST_RATES:
                    stream = random.Random(1000 + seed)
                    noisy = [with_errors(text, rate, stream) for text in test[0]]
                    right.setdefault((how, rate), []).append(model.predict(noisy) == labels)
        for rate in TEST_RATES:
            plain = np.mean(right["plain", rate], axis=0)
            gains = (interval(np.mean(right[how, rate], axis=0) - plain) for how in ("ours", "nlpaug"))
            print(f"| {name} | {rate:.0%} | {plain.mean():.3f} | {' | '.join(gains)} |", flush=True)


def interval(differences: Any) -> str:
    generator = np.random.default_rng(0)
    picks = generator.integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.percentile(differences[picks].mean(axis=1), [2.5, 97.5])
    return f"{differences.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def speed(texts: Sequence[str]) -> None:
    size = sum(len(text.encode()) for text in texts) / 1e6
    taken: dict[str, list[float]] = {"ours": [], "nlpaug": []}
    for number in range(ROUNDS):
        for name, function in (("ours", ours), ("nlpaug", peers))[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            function(texts, number)
            taken[name].append(size / (time.perf_counter() - start))
    for name, rates in taken.items():
        print(f"{name}: {statistics.median(rates):.2f} MB/s [{min(rates):.2f}, {max(rates):.2f}]")
    ratios = [a / b for a, b in zip(taken["ours"], taken["nlpaug"], strict=True)]
    print(f"ratio: {statistics.median(ratios):.1f} [{min(ratios):.1f}, {max(ratios):.1f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    train, test = read(data / "train.tsv"), read(data / "test.tsv")
    versions = f"scikit-learn {sklearn.__version__}, nlpaug {nlpaug.__version__}, Python {platform.python_version()}"
    print(f"{date.today()}, {versions}; {len(train[0]):,} training and {len(test[0]):,} test sentences")
    effect(train, test)
    speed(train[0])


if __name__ == "__main__":
    main()
