"""The data loader beside the fastest training step: batches a second, and opening at a late step beside an early one.

    python benchmarks/training/loader.py [--rounds 5] [--tokens 50_000_000]

The step is a `TrainingRun` of the smallest model worth the name (2 layers, width 128, compiled): what it consumes is the
fastest that this machine can ask for. Shards hold random ids in documents of 500 tokens. Each round takes steps and then loads
as many batches as the run would (what `run.batch` gives: shuffled windows, segments, targets). Opening means: shards, loader
and the first batch from there, as after a kill; at step 10 and at step 100,000, in turn.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from pairs import in_turn, machine, ratios, spread

from lmpipe.base.progress import Silent
from lmpipe.models.llama.config import LlamaConfig
from lmpipe.tokens.loader import Loader
from lmpipe.tokens.shards import ShardWriter, TokenShards
from lmpipe.training.config import PhaseConfig
from lmpipe.training.loop import Device, TrainingRun
from lmpipe.training.process import settings_of_a_run

VOCABULARY, CONTEXT, BATCH_TOKENS = 4096, 256, 4096
EARLY, LATE = 10, 100_000


def write(folder: Path, tokens: int) -> None:
    generator = np.random.default_rng(0)
    for split, size in (("train", tokens), ("validation", 20_000)):
        with ShardWriter(folder / split, vocab_size=VOCABULARY, end_of_text_id=0) as writer:
            for _ in range(size // 500):
                writer.append(np.append(generator.integers(1, VOCABULARY, 499), 0), 2000)


def open_at(folder: Path, step: int) -> None:
    Loader(TokenShards(folder / "train"), context_length=CONTEXT, batch_size=BATCH_TOKENS // CONTEXT, seed=step).batch(step)


def measure_rate(folder: Path, rounds: int, steps: int, compile: bool) -> None:
    model = LlamaConfig(layers=2, width=128, heads=2, context=CONTEXT)
    phase = PhaseConfig(name="main", on="random", tokens=10**9, batch_tokens=BATCH_TOKENS, statistics=False)
    with settings_of_a_run("cpu", 2, compiled=compile):
        run = TrainingRun(folder, model, phase, 0, Device("cpu", 2, compile), Silent())
        positions = iter(range(10**6, 10**9))

        def train() -> None:
            for _ in range(steps):
                run._one_step(folder, watched=False)

        def load() -> None:
            for _ in range(steps):
                run.batch(next(positions))

        train()
        taken = in_turn({"step": lambda: train, "loader": lambda: load}, rounds)
    tokens = steps * BATCH_TOKENS
    for name, values in taken.items():
        print(f"{name}: {spread([tokens / seconds for seconds in values.clock], 0)} tokens/s by the clock")
    print(f"loader faster by {spread(ratios(taken['step'].clock, taken['loader'].clock), 1)} (clock)")
    print(f"loader faster by {spread(ratios(taken['step'].processor, taken['loader'].processor), 1)} (processor time)")


def measure_opening(folder: Path, rounds: int) -> None:
    open_at(folder, 1)
    taken = in_turn({str(step): partial(partial, open_at, folder, step) for step in (EARLY, LATE)}, rounds)
    early, late = (taken[str(step)].clock for step in (EARLY, LATE))
    for step, seconds in ((EARLY, early), (LATE, late)):
        print(f"opening at step {step:,}: {spread([1000 * each for each in seconds])} ms")
    print(f"late over early {spread(ratios(late, early))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=50_000_000)
    parser.add_argument("--plain", action="store_true", help="do not compile the step")
    arguments = parser.parse_args()
    print(machine("torch"))
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        write(Path(name), arguments.tokens)
        print(f"{arguments.tokens:,} tokens written in {time.perf_counter() - started:.0f} s")
        measure_opening(Path(name), 5 * arguments.rounds)
        measure_rate(Path(name), arguments.rounds, arguments.steps, not arguments.plain)


if __name__ == "__main__":
    main()
