"""A run that is killed goes on with the same command and ends with the bytes of one that never was."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import LMPIPE, Workplace, make_workplace, quiet_environment

from lmpipe.pipeline.store import open_store

COMMAND = [str(LMPIPE), "run", "recipe.yaml", "--threads", "1", "--workers", "1", "--no-compile"]


def start(workplace: Workplace) -> subprocess.Popen[bytes]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(COMMAND, cwd=workplace.folder, env=quiet_environment(), start_new_session=True, **quiet)


def kill_when(workplace: Workplace, seen: Callable[[Path], bool], seconds: float = 120) -> bool:
    """Start the run and SIGKILL it as soon as `seen` says so; whether that happened before the run ended."""
    process = start(workplace)
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        if seen(workplace.folder / "store"):
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002)
    process.kill()
    process.wait()
    return False


def is_stage(store: Path, name: str) -> bool:
    return any((store / ".scratch").glob(f"{name}-*"))


def digests(folder: Path) -> dict[str, str]:
    store = open_store(str(folder / "store"))
    return {name: store.records(name)[0].content_digest for name in store.stages()}


def test_killed_at_telling_moments_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    calm, killed = make_workplace(tmp_path / "calm"), make_workplace(tmp_path / "killed")
    assert calm.run().returncode == 0
    moments: list[Callable[[Path], bool]] = [
        lambda store: is_stage(store, "read-corpus"),
        lambda store: any((store / ".tmp").glob("tokenizer-*/**/tokenizer.json")),  # before it is published
        lambda store: any(store.glob(".scratch/train-pretrain-*/.step-*.tmp")),  # inside a checkpoint write
        lambda store: len(list(store.glob(".scratch/train-pretrain-*/step-*"))) >= 2,
        lambda store: is_stage(store, "bundle"),
    ]
    happened = [kill_when(killed, moment) for moment in moments]
    assert sum(happened) >= 3, "too few of the moments were met to have tested anything"
    done = killed.run()
    assert done.returncode == 0, done.stderr
    expected = digests(calm.folder)
    assert digests(killed.folder) == expected
    assert {"tokenizer", "tokenize-corpus", "train-pretrain", "evaluate-corpus-test", "bundle"} <= expected.keys()
    assert not list((killed.folder / "store" / ".scratch").glob("*"))
