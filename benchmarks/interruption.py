"""Interrupted equals uninterrupted: a run is killed 30 times, goes on with the same command, and the bytes are compared.

    python benchmarks/interruption.py --work FOLDER [--kills 30] [--inside 10] [--seed 0] [--compile]

One run of a shortened quickstart (same stages) is left alone. Then, each time in a new store, the same command is started,
its whole process tree gets SIGKILL, and the command is started again. Moments are drawn over the length of the calm run; the
last `--inside` of them wait for a file that exists only while a checkpoint is written or an output is published. Told are the
stage that was running and whether, after the second start, every stage's content digest (tokenizer, shards, weights,
evaluation, bundle with its manifest) equals the calm run's. With `--compile` the training step is compiled, and each store has
a compiler's cache of its own that starts empty, so that kills fall into compiling, too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from lmpipe.pipeline.store import open_store

LMPIPE = Path(sys.executable).with_name("lmpipe")
RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart.yaml"
SHORTENED = (
    'data.corpus.read.0.paths=["{stdlib}/json/**/*.py","{stdlib}/email/**/*.py","{stdlib}/http/**/*.py","{stdlib}/logging/*.py"]',
    "data.corpus.split={train: 0.8, validation: 0.1, test: 0.1, by: document}",
    "tokenizer.vocab_size=1024",
    "model={kind: llama, layers: 2, width: 64, heads: 2, context: 128}",
    "train.0.tokens=150000",
    "train.0.batch_tokens=2048",
    "train.0.validation={every_tokens: 20000, tokens: 4096}",
)
INSIDE = (".scratch/train-*/.step-*.tmp", ".tmp/*/*record.json*")
"""A checkpoint being written; an output complete but for its new name."""


compiled = False


def command(store: Path) -> list[str]:
    """The run, the same every time."""
    sets = [part for value in SHORTENED for part in ("--set", value)]
    how = "--compile" if compiled else "--no-compile"
    return [str(LMPIPE), "run", str(RECIPE), "--store", str(store), "--threads", "1", how, *sets]


def environment(store: Path) -> dict[str, str]:
    """This one, with a compiler's cache beside the store."""
    return {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(store.absolute().with_name(f"{store.name}-cache"))}


def finish(store: Path) -> float:
    """Run to the end; the seconds it took."""
    started = time.perf_counter()
    done = subprocess.run(command(store), env=environment(store), capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3, 4):  # 3 and 4: finished, and the gate did not say GO (so small a model may miss its goal)
        sys.exit(f"the run in {store} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return time.perf_counter() - started


def digests(store: Path) -> dict[str, str]:
    """Content digest of every stage."""
    opened = open_store(str(store))
    return {name: opened.records(name)[0].content_digest for name in opened.stages()}


def kill(store: Path, moment: Callable[[float], bool]) -> str | None:
    """Start the run and kill it and its children at the moment; the stage that was running, or None when it ended before."""
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command(store), env=environment(store), start_new_session=True, **silent)
    started = time.perf_counter()
    while process.poll() is None:
        if moment(time.perf_counter() - started):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            running = sorted(path.name.rsplit("-", 1)[0] for path in (store / ".scratch").glob("*"))
            return running[-1] if running else "between two stages"
        time.sleep(0.0005)
    return None


def moments(
    calm_seconds: float, kills: int, inside: int, seed: int, store_of: Callable[[int], Path]
) -> list[Callable[[float], bool]]:
    """When to kill: drawn over the run; the last ones wait, from a drawn moment on, for a half-written file."""
    generator = random.Random(seed)
    drawn = [generator.uniform(0.2, calm_seconds) for _ in range(kills)]

    def at(second: float) -> Callable[[float], bool]:
        return lambda elapsed: elapsed >= second

    def inside_a_write(second: float, store: Path, pattern: str) -> Callable[[float], bool]:
        return lambda elapsed: elapsed >= second and any(store.glob(pattern))

    chosen = [at(second) for second in drawn[: kills - inside]]
    for number in range(kills - inside, kills):
        second = drawn[number] * (0.5 if number % 2 == 0 else 0.8)  # early enough that such a file still comes
        chosen.append(inside_a_write(second, store_of(number), INSIDE[number % len(INSIDE)]))
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--inside", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    global compiled
    compiled = arguments.compile
    arguments.work.mkdir(parents=True)

    def store_of(number: int) -> Path:
        return Path(arguments.work) / f"killed-{number}"

    calm = arguments.work / "calm"
    finish(calm)
    calm_seconds = finish(arguments.work / "calm-again")  # everything is in the caches now
    expected = digests(calm)
    if digests(arguments.work / "calm-again") != expected:
        sys.exit("two runs that nobody interrupted differ")
    rows = []
    for number, moment in enumerate(moments(calm_seconds, arguments.kills, arguments.inside, arguments.seed, store_of)):
        store, left = store_of(number), ""
        stage = kill(store, moment)
        left = ", ".join(sorted({pattern for pattern in INSIDE if any(store.glob(pattern))}))
        finish(store)
        differing = sorted(name for name, digest in expected.items() if digests(store).get(name) != digest)
        rows.append({"stage": stage, "half_written": left, "differing": differing})
        print(json.dumps(rows[-1]), flush=True)
        shutil.rmtree(store)
        shutil.rmtree(environment(store)["TORCHINDUCTOR_CACHE_DIR"], ignore_errors=True)
    killed = [row for row in rows if row["stage"]]
    half_written = sum(bool(row["half_written"]) for row in killed)
    equal = sum(not row["differing"] for row in rows)
    print(f"\n{platform.platform()}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}, seed {arguments.seed}")
    print(f"calm run: {calm_seconds:.1f} s, {len(expected)} stages compared")
    print(f"killed before the end: {len(killed)} of {len(rows)}, {half_written} of them inside a checkpoint write or a publish")
    print(f"equal bytes after the second start: {equal} of {len(rows)}")


if __name__ == "__main__":
    main()
