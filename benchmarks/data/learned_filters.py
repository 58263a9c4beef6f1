"""Filters that learn: held-out AUC of toxicity and quality classifiers, false alarms on identity terms, beside scikit-learn.

    python benchmarks/data/learned_filters.py HATECHECK.csv MADLIBS.csv GOOD.jsonl BAD.jsonl

HATECHECK: `test_case`, `label_gold`, `target_ident`. MADLIBS: `Text`, `Label` (BAD, NOT_BAD). GOOD, BAD: JSON lines of `text`.
The peer is logistic regression over scikit-learn's HashingVectorizer (words and pairs, as many buckets), on the same split.
HateCheck is made of templates, so texts that are held out have near copies among those that teach: its AUC says little beyond
that the classifier learns; the false alarms are the point.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from lmpipe.base.progress import Silent
from lmpipe.data.config import CorpusConfig
from lmpipe.data.documents import read_documents
from lmpipe.data.filters.learning import Side, is_toxic, learn
from lmpipe.data.filters.trained_config import ClassifierConfig, IdentityConfig, LabelledConfig
from lmpipe.data.readers.sources import pinned, resolve_all
from lmpipe.data.reading import read
from lmpipe.data.splitting.dividing import split

SPLIT = {"train": 0.6, "validation": 0.2, "test": 0.2}


def prepared(source: dict[str, Any], folder: Path) -> Path:
    """A corpus, read and split."""
    corpus = CorpusConfig.model_validate({"read": [source], "split": SPLIT, "max_failed_fraction": 1.0})
    found = resolve_all(corpus.read, [Path.cwd()])
    options = {"progress": Silent(), "workers": 1}
    for step in ("documents", "split"):
        (folder / step).mkdir(parents=True)
    config = pinned(corpus.read, found, 1.0)
    read(config, [file for files in found for file in files], folder / "documents", scratch=folder / "scratch-read", **options)
    split(folder / "documents", folder / "split", config=corpus.split, seed=1, scratch=folder / "scratch-split", **options)
    return folder / "split"


def peer(sides: list[Side]) -> tuple[float, float]:
    """(AUC, seconds of processor time) of scikit-learn on the same split."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    started = time.process_time()
    words = {"ngram_range": (1, 2), "token_pattern": r"\w+|[^\w\s]", "binary": True}
    vectorizer = HashingVectorizer(n_features=1 << 18, alternate_sign=False, **words)
    parts = {name: ([], []) for name in ("train", "held out")}
    for side in sides:
        for name in ("train", "validation", "test"):
            texts, labels = parts["train" if name == "train" else "held out"]
            for document in read_documents(side.folder / name):
                texts.append(document.text)
                labels.append(side.positive if isinstance(side.positive, bool) else is_toxic(document.meta, side.positive))
    model = LogisticRegression(C=10, class_weight="balanced", max_iter=1000)
    model.fit(vectorizer.transform(parts["train"][0]), np.array(parts["train"][1]))
    scores = model.predict_proba(vectorizer.transform(parts["held out"][0]))[:, 1]
    return float(roc_auc_score(parts["held out"][1], scores)), time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs=4, type=Path)
    hatecheck, madlibs, good, bad = (str(path) for path in parser.parse_args().paths)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cases = {
            "kind": "csv",
            "paths": [hatecheck],
            "text_column": "test_case",
            "meta_columns": ["label_gold", "target_ident"],
        }
        lib = {"kind": "csv", "paths": [madlibs], "text_column": "Text", "meta_columns": ["Label"]}

        def lines(path: str, name: str) -> Path:
            return prepared({"kind": "jsonl", "paths": [path]}, folder / name)

        toxic = prepared(cases, folder / "hatecheck")
        identity = [
            (toxic, IdentityConfig(on="hatecheck", label="label_gold", toxic=("hateful",), group="target_ident")),
            (prepared(lib, folder / "madlibs"), IdentityConfig(on="madlibs", label="Label", toxic=("BAD",))),
        ]
        sets = {
            "toxicity": ([Side(toxic, LabelledConfig(on="hatecheck", label="label_gold", toxic=("hateful",)))], identity),
            "quality": ([Side(lines(good, "good"), True), Side(lines(bad, "bad"), False)], []),
        }
        for name, (sides, tests) in sets.items():
            (folder / f"{name}-model").mkdir()
            started = time.process_time()
            facts = learn(sides, folder / f"{name}-model", config=ClassifierConfig(), seed=1, progress=Silent(), identity=tests)
            seconds = time.process_time() - started
            area, peer_seconds = peer(sides)
            interval = f"[{facts['auc_low']:.4f}, {facts['auc_high']:.4f}]"
            print(f"{name}: AUC {facts['auc']:.4f} {interval} in {seconds:.1f} s of processor time (identity sets included)")
            print(f"    scikit-learn {area:.4f} in {peer_seconds:.1f} s; {facts['examples']}, held out {facts['held_out']}")
            for part in facts["identity"]:
                for group, rates in part["groups"].items():
                    print("   ", part["corpus"], group, json.dumps(rates))


if __name__ == "__main__":
    main()
