"""The linear text classifier beside scikit-learn's logistic regression on the same features: sst2, banking77, clinc150.

    python benchmarks/models/linear.py SHARED [--rounds 1]     SHARED holds the folders sst2, banking77 and clinc150

sst2: train, dev, test as they are. banking77: every tenth training text is validation. clinc150 (`data_full`): trained on the
150 intents alone; the out-of-scope threshold is chosen on its validation messages (100 of them out of scope), reported on test.
Processor seconds of features and training.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from lmpipe.evaluation.intervals import wilson
from lmpipe.models.linear.config import LinearConfig
from lmpipe.models.linear.model import LinearClassifier
from lmpipe.models.linear.training import train_linear
from lmpipe.serving.chatbot.thresholds import OperatingPoint, choose_threshold, confidences
from lmpipe.serving.chatbot.understanding_config import BestF1, FixedThreshold, KeptAccuracy

Pairs = tuple[list[str], list[str]]
AIMS = (BestF1(), KeptAccuracy(at_least=0.85), KeptAccuracy(at_least=0.88))


def sst2(folder: Path) -> list[Pairs]:
    def rows(name: str) -> Pairs:
        lines = [line.split("\t") for line in (folder / f"{name}.tsv").read_text(encoding="utf-8").splitlines()]
        return [text for text, _ in lines], [label for _, label in lines]

    return [rows("train"), rows("dev"), rows("test")]


def banking77(folder: Path) -> list[Pairs]:
    def rows(name: str) -> list[tuple[str, str]]:
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return [(row["text"], row["category"]) for row in csv.DictReader(file)]

    train = rows("train")
    parts = [[p for i, p in enumerate(train) if i % 10], train[::10], rows("test")]
    return [([text for text, _ in part], [label for _, label in part]) for part in parts]


def clinc150(folder: Path) -> dict[str, Pairs]:
    data = json.loads((folder / "data_full.json").read_text(encoding="utf-8"))
    return {name: ([text for text, _ in pairs], [label for _, label in pairs]) for name, pairs in data.items()}


def theirs(train: Pairs, config: LinearConfig) -> tuple[Any, float]:
    """scikit-learn's, with our words as its tokens and the same C. For two labels it has one vector where we have two of half
    the length, so that the same penalty is twice the C."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    started = time.process_time()
    features = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, config.word_ngrams))
    model = make_pipeline(features, LogisticRegression(C=config.cost, tol=config.tolerance, max_iter=1000)).fit(*train)
    return model, time.process_time() - started


def ours(train: Pairs, config: LinearConfig) -> tuple[LinearClassifier, float]:
    started = time.process_time()
    return train_linear(*train, config), time.process_time() - started


def accuracy(model: Any, part: Pairs) -> str:
    right = sum(str(found) == label for found, label in zip(model.predict(part[0]), part[1], strict=True))
    interval = wilson(right, len(part[1]))
    return f"{right / len(part[1]):.4f} [{interval.low:.4f}, {interval.high:.4f}]"


def out_of_scope(model: LinearClassifier, data: dict[str, Pairs]) -> None:
    """The operating points on test that validation chose."""

    def measured(split: str) -> tuple[Any, Any, Any]:
        texts = data[split][0] + data[f"oos_{split}"][0]
        truth = data[split][1] + data[f"oos_{split}"][1]
        confidence, right = confidences(model.probabilities(texts), model.labels, truth)
        return confidence, right, np.arange(len(texts)) < len(data[split][0])

    for aim in AIMS:
        chosen = choose_threshold(*measured("val"), aim)
        test: OperatingPoint = choose_threshold(*measured("test"), FixedThreshold(value=chosen.point.threshold)).point
        print(
            f"    {aim.kind} {getattr(aim, 'at_least', '')}: threshold {chosen.point.threshold:.3f} (reached: {chosen.reached})"
        )
        for name, point in (("validation", chosen.point), ("test", test)):
            print(
                f"      {name}: in-scope accuracy {point.in_scope_accuracy:.4f}, out-of-scope recall {point.recall:.4f}, "
                f"precision {point.precision:.4f}, F1 {point.f1:.4f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    clinc = clinc150(arguments.shared / "clinc150")
    sets = {
        "sst2": sst2(arguments.shared / "sst2"),
        "banking77": banking77(arguments.shared / "banking77"),
        "clinc150": [clinc["train"], clinc["val"], clinc["test"]],
    }
    for name, (train, validation, test) in sets.items():
        for cost in (10.0, 30.0):
            config = LinearConfig(cost=cost)
            for _ in range(arguments.rounds):
                model, seconds = ours(train, config)
                peer, peer_seconds = theirs(
                    train, config if len(model.labels) > 2 else config.model_copy(update={"cost": cost * 2})
                )
                print(f"{name}, C {cost:g}: ours {seconds:.1f} s, scikit-learn {peer_seconds:.1f} s", flush=True)
            for who, classifier in (("ours", model), ("scikit-learn", peer)):
                print(f"  {who}: validation {accuracy(classifier, validation)}, test {accuracy(classifier, test)}", flush=True)
            if name == "clinc150":
                out_of_scope(model, clinc)


if __name__ == "__main__":
    main()
