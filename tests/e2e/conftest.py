"""A tiny recipe on text that the tests make, run once for the whole session through the real command."""

from __future__ import annotations

import fcntl
import functools
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from .warm import Warm

LMPIPE = Path(sys.executable).with_name("lmpipe")
APART = ("--threads", "1", "--workers", "1", "--no-compile")
"""Options of a run with a process for every stage, as users have it."""
IN_ONE = (*APART, "--no-isolate")
"""Options of a run that is about what comes out: it starts no process."""
RECIPE = """\
name: tiny
seed: 1
goal: {task: generate, metric: bits_per_byte, on: test, at_most: 7.9}
data:
  corpus:
    read: [{kind: text, paths: [texts/*.txt], licence: CC0-1.0}]
    clean: [{kind: unicode}, {kind: length, min_characters: 20}]
    dedup: [{kind: exact}]
    pii: {entities: [email, phone, credit_card, ip, iban, api_key]}
    split: {train: 0.8, validation: 0.1, test: 0.1}
tokenizer: {kind: bpe, vocab_size: 300, train_on: corpus}
model: {kind: llama, layers: 1, width: 16, heads: 2, context: 64}
train:
  - name: pretrain
    on: corpus
    tokens: 20_000
    batch_tokens: 512
    optimizer: {kind: adamw, lr: 1e-2}
    validation: {every_tokens: 4_000, tokens: 512}
evaluate: [{kind: perplexity, on: corpus, resamples: 100, baselines: [{kind: ngram, order: 3}, {kind: xz}]}]
audit:
  - {kind: memorization, prefix_tokens: 8, suffix_tokens: 8, samples: 10, canaries: {count: 2, repeats: 2, candidates: 100}}
  - {kind: energy}
gate: {require: [{metric: goal}]}
"""


@dataclass(frozen=True)
class Workplace:
    """A folder with a recipe, its texts and (once run) its store."""

    folder: Path

    def lmpipe(self, *arguments: str, text: str = "", timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run one command there, in a process of its own (`warm.py` says of which parent)."""
        return warm().lmpipe(arguments, self.folder, text, timeout)

    def script(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same by the script itself, as a user's shell does it."""
        options = {"cwd": self.folder, "env": quiet_environment(), "capture_output": True, "text": True, "timeout": 240}
        return subprocess.run([str(LMPIPE), *arguments], check=False, **options)

    def run(self, *arguments: str, isolate: bool = False) -> subprocess.CompletedProcess[str]:
        """`lmpipe run recipe.yaml` on one thread, its stages in one process or in one for each."""
        return self.lmpipe("run", "recipe.yaml", *(APART if isolate else IN_ONE), *arguments)


@functools.cache
def warm() -> Warm:
    """The parent of this worker's commands."""
    return Warm(quiet_environment(), LMPIPE)


def quiet_environment() -> dict[str, str]:
    """The environment without colours or a store of the user's."""
    kept = {key: value for key, value in os.environ.items() if key not in ("LMPIPE_STORE", "FORCE_COLOR")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "200"}


def make_workplace(folder: Path, recipe: str = RECIPE) -> Workplace:
    """A fresh folder with the recipe and forty small texts."""
    texts = folder / "texts"
    texts.mkdir(parents=True)
    generator = random.Random(5)
    nouns, verbs = ["cat", "dog", "bird", "house", "river", "tree"], ["sees", "hears", "follows", "finds", "loses"]
    words = ["the", "a", "red", "blue", "small", "old", "in", "on", "under", *nouns, *verbs]
    for number in range(40):
        lines = [" ".join(generator.choices(words, k=12)) + "." for _ in range(25)]
        lines += [f"Write to user{number}@example.org."] if number % 5 == 0 else []
        (texts / f"{number:02d}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    return Workplace(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The tiny recipe, run to its end: once for all processes of the test session, each of which works on a copy of its own.

    Tests may run further variants in it and leave the results of the recipe as they are."""
    place = tmp_path_factory.getbasetemp()
    shared = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "finished").exists():
            making = shared / f"finished-{place.name}"
            done = make_workplace(making).script("run", "recipe.yaml", *APART)
            assert done.returncode == 0, done.stderr
            making.rename(shared / "finished")
    copy = tmp_path_factory.mktemp("finished") / "work"
    shutil.copytree(shared / "finished", copy)
    return Workplace(copy)
