"""Batches by length beside packed rows and beside random batches padded to their longest, on texts as long as SST-2's.

    python benchmarks/training/bucketing.py --rounds 6 --steps 10 [--lengths train.tsv] [--compile]

`--lengths` takes the words of each line's first column as the lengths (+ 4 tokens for pieces and ends); without it they are
drawn from a log-normal distribution with SST-2's mean of 19 words. Tokens are random: speed does not ask what they say. One
process, contenders in turn in every round, only optimiser steps timed. Told: share of padding, tokens that are no padding per
second, and the ratio to random batches. `--compile` compiles the packed step, which has one shape; the others have many.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from lmpipe.base.files import write_json
from lmpipe.base.progress import Silent
from lmpipe.models.config import ModelConfig
from lmpipe.tokens.bucketing import BucketedLoader
from lmpipe.tokens.packing import ExampleBatch, laid_out
from lmpipe.tokens.shards import ShardWriter
from lmpipe.training.config import PhaseConfig
from lmpipe.training.loop import Device, TrainingRun
from lmpipe.training.process import settings_of_a_run

VOCABULARY, EXAMPLES, LONGEST = 8192, 6920, 126


class RandomBatches(BucketedLoader):
    """As most trainers do: so many examples in random order, padded to the longest of them."""

    def batch(self, position: int) -> ExampleBatch:
        count = max(1, round(self.tokens_per_batch / self._lengths.mean()))
        members = np.random.default_rng(position).integers(0, len(self.examples), count)
        rows, sizes = [members[n : n + 1] for n in range(count)], {"target_tokens": 8, "places": 1}
        width = int(self._lengths[members].max())
        return laid_out(self.examples, rows, self._lengths, self._target_lengths, row_tokens=width, **sizes)


def lengths_of(path: Path | None) -> list[int]:
    if path is None:
        drawn = np.random.default_rng(1).lognormal(np.log(17), 0.5, EXAMPLES)
        return np.clip(drawn.round().astype(int) + 4, 5, LONGEST).tolist()
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [min(LONGEST, len(line.split("\t")[0].split()) + 4) for line in lines if line.strip()]


def write(folder: Path, lengths: list[int]) -> None:
    generator = np.random.default_rng(2)
    for side, some in (("train", lengths), ("validation", lengths[:64])):
        with ShardWriter(folder / side / "inputs", vocab_size=VOCABULARY, end_of_text_id=0) as writer:
            for length in some:
                writer.append(generator.integers(10, VOCABULARY, length - 1).tolist(), length)
        np.save(folder / side / "answers.npy", generator.integers(0, 2, len(some)).astype(np.int32), allow_pickle=False)
    write_json(folder / "examples.json", {"kind": "labels", "names": ["a", "b"], "several": False})


def open_run(folder: Path, kind: str, arguments: argparse.Namespace) -> TrainingRun:
    sizes = {"layers": arguments.layers, "width": arguments.width, "heads": arguments.width // 64, "context": 128}
    model: Any = TypeAdapter(ModelConfig).validate_python({"kind": "bert", **sizes})
    values = {"name": "main", "on": "texts", "tokens": 10**9, "batch_tokens": 2048, "micro_batch_tokens": 2048}
    phase = PhaseConfig.model_validate(
        {**values, "objective": {"kind": "classification"}, "bucket_by_length": kind != "packed", "statistics": False}
    )
    device = Device("cpu", arguments.threads, arguments.compile and kind == "packed")
    run = TrainingRun(folder, model, phase, 1, device, Silent())
    if kind == "random":
        loader = RandomBatches(run.loader.examples, row_tokens=128, batch_tokens=2048, seed=1)
        run.loader, run.lessons = loader, replace(run.lessons, loader=loader)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--lengths", type=Path)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    arguments = parser.parse_args()
    kinds = ("random", "bucketed", "packed")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        write(folder, lengths := lengths_of(arguments.lengths))
        stack.enter_context(settings_of_a_run("cpu", arguments.threads, compiled=arguments.compile))
        runs = {kind: open_run(folder, kind, arguments) for kind in kinds}
        speeds: dict[str, list[float]] = {kind: [] for kind in kinds}
        cells, real = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0)
        for number in range(arguments.rounds + 1):  # the first warms up
            for kind, run in runs.items():
                batches = [run.loader.batch(run.state.position + step).segments_BT for step in range(arguments.steps)]
                there = sum(int((segments >= 0).sum()) for segments in batches)
                cells[kind], real[kind] = cells[kind] + sum(s.size for s in batches), real[kind] + there
                started = time.perf_counter()
                for _ in range(arguments.steps):
                    run._one_step(folder, watched=False)
                if number:
                    speeds[kind].append(there / (time.perf_counter() - started))
        print(f"{len(lengths):,} texts of {np.mean(lengths):.1f} tokens on average, {arguments.layers} x {arguments.width}")
        for kind in kinds:
            ratios = [own / other for own, other in zip(speeds[kind], speeds["random"], strict=True)]
            low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
            print(
                f"{kind:<9} padding {1 - real[kind] / cells[kind]:6.1%}   {statistics.median(speeds[kind]):8,.0f} tokens/s"
                f"   {middle:.2f} times random batches ({low:.2f} to {high:.2f})"
            )


if __name__ == "__main__":
    main()
