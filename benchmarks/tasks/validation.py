"""Robust validation on real data: seeds, folds, a learning curve, changed test text; a small encoder from scratch, on SST-2.

    python benchmarks/tasks/validation.py --data DATA --seeds 3 --folds 5

DATA holds the folder sst2 (train.tsv, dev.tsv, test.tsv). Told: every repeated evaluation as the run's report has it, and how
often something was trained. The linear classifier on words and word pairs stands beside the encoder in every fold. Speed is not
measured.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import lmpipe
from lmpipe.base.runtime import Runtime

CHANGES = ("keyboard", "ocr", "case", "punctuation", "eda")
SHOWN = ("accuracy", "macro f1", "log loss", "linear.accuracy", "accuracy over linear")


def recipe(data: Path, **repeats: Any) -> dict[str, Any]:
    """A one-layer encoder, three epochs."""
    sides = {"train": "train", "dev": "validation", "test": "test"}
    sources = [
        {"kind": "csv", "paths": [str(data / "sst2" / f"{name}.tsv")], "columns": ["text", "label"], "side": side}
        for name, side in sides.items()
    ]
    phase = {
        "name": "learn",
        "on": "reviews",
        "objective": {"kind": "classification"},
        "epochs": 3,
        "batch_tokens": 4096,
        "row_tokens": 128,
        "optimizer": {"kind": "adamw", "lr": 4e-3},
        "schedule": {"kind": "linear", "warmup_fraction": 0.1},
        "precision": "fp32",
    }
    return {
        "name": "validation",
        "data": {
            "reviews": {"read": sources, "holds": {"kind": "labels"}, "split": {"train": 0.8, "validation": 0.1, "test": 0.1}}
        },
        "tokenizer": {"kind": "bpe", "vocab_size": 1024, "train_on": "reviews"},
        "model": {"kind": "bert", "layers": 1, "width": 32, "heads": 2, "context": 128},
        "train": [phase],
        "evaluate": [{"kind": "classification", "on": "reviews", "robustness": list(CHANGES)}],
        **repeats,
    }


def main() -> None:
    """Run, and print what the report says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", default="validation-store")
    parser.add_argument("--seeds", type=int, default=3, help="1: no repeats by seed")
    parser.add_argument("--shares", type=float, nargs="*", default=[0.1, 0.3], help="of the learning curve; empty: none")
    parser.add_argument("--folds", type=int, default=5, help="0: no cross-validation")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    repeats: dict[str, Any] = {"seeds": given.seeds} if given.seeds > 1 else {}
    if given.folds:
        repeats["cross_validation"] = {"folds": given.folds}
    if given.shares:
        repeats["learning_curve"] = {"shares": given.shares}
    began, cpu = time.time(), time.process_time()
    run = lmpipe.run(recipe(given.data, **repeats), runtime=Runtime(store=given.store, threads=given.threads, compile=False))
    trained = sum("train-" in stage.name for stage in run.entry.stages)
    print(
        f"{trained} trainings, {time.time() - began:.0f} s ({time.process_time() - cpu:.0f} s of this process's processor time)"
    )
    for one in run.repeats:
        print(f"\n{one.subject}: {one.title}\n{' | '.join(['', *one.columns])}")
        for row in one.rows:
            if row.name in SHOWN:
                print(" | ".join([row.name, *(_text(number) for number in row.numbers)]))


def _text(number: Any) -> str:
    if number is None:
        return "-"
    return f"{number.value:.4f}" + (f" [{number.low:.4f}, {number.high:.4f}]" if number.low is not None else "")


if __name__ == "__main__":
    main()
