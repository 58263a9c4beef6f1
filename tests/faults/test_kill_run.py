"""A run that is killed goes on with the same command and ends with the bytes of one that never was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import textwrap
from pathlib import Path

import pytest
from tests.e2e.conftest import APART, LMPIPE, Workplace, make_workplace, quiet_environment

COMMAND = [str(LMPIPE), "run", "recipe.yaml", *APART]

WATCHER = textwrap.dedent(
    """
    # Imported by every Python that starts, the stages' processes too: the moment they are about to do what KILL_AT names, the
    # runner gets SIGKILL, and they wait for their own end, which its death brings.
    import os, re, signal, sys

    event_wanted, _, pattern = os.environ["KILL_AT"].partition(" ")
    runner = int(os.environ.setdefault("KILL_RUNNER", str(os.getpid())))

    def watch(event, arguments):
        if event == event_wanted and re.search(pattern, str(arguments[0])):
            os.kill(runner, signal.SIGKILL)
            while True:
                signal.pause()

    sys.addaudithook(watch)
    """
)

MOMENTS = {
    "reading, with a part written": r"os.rename /\.scratch/read-corpus-.*/\.00000\.tmp$",
    "before the tokenizer is published": r"os.rename /\.tmp/tokenizer-[^/]+$",
    "inside a checkpoint, half of it written": r"open /\.scratch/train-pretrain-[^/]+/\.step-00000004\..*state\.json",
    "before a whole checkpoint gets its name": r"os.rename /\.scratch/train-pretrain-[^/]+/\.step-00000010\.[^/]+$",
    "in training, with checkpoints behind it": r"os.mkdir /\.scratch/train-pretrain-[^/]+/\.step-00000020\.",
    "before the bundle is published": r"os.rename /\.tmp/bundle-[^/]+$",
}
"""What a process is about to do when the run is killed, as Python's audit events name it: event, then a pattern of its path."""
FEW = ["reading, with a part written", "inside a checkpoint, half of it written", "before the bundle is published"]
"""One of each sort: inside a data stage, inside a long stage's own save, inside a publish."""


def run_until(workplace: Workplace, moment: str, watcher: Path) -> int:
    """Start the run, to be killed at a moment; its exit status."""
    environment = {**quiet_environment(), "KILL_AT": moment}
    environment["PYTHONPATH"] = os.pathsep.join([str(watcher), *filter(None, [environment.get("PYTHONPATH")])])
    options = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run(COMMAND, cwd=workplace.folder, timeout=240, check=False, **options).returncode


@pytest.mark.parametrize("moments", [FEW, pytest.param(list(MOMENTS), marks=pytest.mark.slow)], ids=["few", "all"])
def test_killed_at_telling_moments_it_ends_with_the_same_bytes(finished: Workplace, tmp_path: Path, moments: list[str]) -> None:
    killed, watcher = Workplace(tmp_path / "killed"), tmp_path / "watcher"
    if moments is FEW:  # the stages in which nothing is killed are done already
        shutil.copytree(finished.folder, killed.folder)
        for stage in ("read-corpus", "train-pretrain", "bundle"):
            shutil.rmtree(killed.folder / "store" / stage)
    else:
        make_workplace(killed.folder)
    watcher.mkdir()
    (watcher / "sitecustomize.py").write_text(WATCHER, encoding="utf-8")
    for name in moments:
        assert run_until(killed, MOMENTS[name], watcher) == -signal.SIGKILL, f"it was not killed {name}"
    runs = [workplace.run("--json") for workplace in (killed, finished)]
    assert [done.returncode for done in runs] == [0, 0], runs[0].stderr
    after, never = ({s["name"]: s["content_digest"] for s in json.loads(done.stdout)["stages"]} for done in runs)
    assert after == never
    assert {"tokenizer", "tokenize-corpus", "train-pretrain", "evaluate-corpus-test", "bundle"} <= after.keys()
    assert not list((killed.folder / "store" / ".scratch").glob("*"))
