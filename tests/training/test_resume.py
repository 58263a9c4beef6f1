"""A run that was interrupted, anyhow, ends with the bytes of one that was not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import training_example as example

from lmpipe.training.checkpoint import newest_checkpoint

DRIVER = Path(__file__).parent / "training_example.py"
MANY_STEPS = 40
"""20 checkpoints over 40 steps: every second step one, so that a kill can come before, at, between and inside checkpoints."""


class Notes:
    """Keeps what a user would be told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def update(self, done: float, total: float | None, unit: str, **values: float | str) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Keep."""
        self.notes.append(text)


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the plain phase gives that nothing stops."""
    folder = tmp_path_factory.mktemp("whole")
    example.run_training(corpus, folder)
    return example.result(folder)


@pytest.mark.slow  # the fast suite stops one run at all places in turn, in more ways to read and learn: test_resume_matrix.py
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("micro_batch_tokens", [128, 64], ids=["whole batches", "accumulated"])
def test_stopped_anywhere_gives_the_same_bytes(precision: str, micro_batch_tokens: int, corpus: Path, tmp_path: Path) -> None:
    options = {"tokens": 40 * 128, "micro_batch_tokens": micro_batch_tokens, "precision": precision}
    phase = example.tiny_phase(**options)  # a checkpoint at every second step
    example.run_training(corpus, tmp_path / "whole", phase=phase)
    expected = example.result(tmp_path / "whole")
    assert {"best/model.safetensors", "last/model.safetensors", "curve.jsonl", "training.json"} <= expected.keys()
    for steps in (1, 13, 20, 39):  # before the first checkpoint, between two, at one, before the last step
        folder = tmp_path / f"stopped after {steps}"
        assert example.run_training(corpus, folder, phase=phase, stopping=example.after(steps)) == {}
        assert example.result(folder) == {}
        facts = example.run_training(corpus, folder, phase=phase)
        assert facts["steps"] == 40
        assert example.result(folder) == expected, f"stopped after {steps} steps"


def test_stopped_before_every_step_gives_the_same_bytes(corpus: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    assert {"best/model.safetensors", "last/model.safetensors", "curve.jsonl", "training.json"} <= whole.keys()
    for _ in range(11):
        assert example.run_training(corpus, tmp_path / "often", stopping=example.after(1)) == {}
    assert example.run_training(corpus, tmp_path / "often")
    assert example.result(tmp_path / "often") == whole


def test_muon_stopped_gives_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    phase = example.tiny_phase(optimizer={"kind": "muon"}, precision="bf16")
    example.run_training(corpus, tmp_path / "whole", phase=phase)
    for steps in (1, 7):
        example.run_training(corpus, tmp_path / "stopped", phase=phase, stopping=example.after(steps))
    example.run_training(corpus, tmp_path / "stopped", phase=phase)
    assert example.result(tmp_path / "stopped") == example.result(tmp_path / "whole")


def test_two_threads_give_the_same_bytes_after_a_stop(corpus: Path, tmp_path: Path) -> None:
    device = example.Device("cpu", 2, False)
    example.run_training(corpus, tmp_path / "whole", device=device)
    example.run_training(corpus, tmp_path / "stopped", device=device, stopping=example.after(5))
    example.run_training(corpus, tmp_path / "stopped", device=device)
    assert example.result(tmp_path / "stopped") == example.result(tmp_path / "whole")


def test_early_stopping_counts_on_over_a_stop(corpus: Path, tmp_path: Path) -> None:
    stopping = {"patience": 3, "min_delta": 100.0}  # nothing is ever that much better than the first validation
    phase = example.tiny_phase(tokens=40 * 128, early_stopping=stopping, validation={"every_tokens": 512, "tokens": 256})
    example.run_training(corpus, tmp_path / "whole", phase=phase)
    example.run_training(corpus, tmp_path / "stopped", phase=phase, stopping=example.after(9))
    facts = example.run_training(corpus, tmp_path / "stopped", phase=phase)
    assert facts["stopped_early"]
    assert facts["steps"] == 16
    assert example.result(tmp_path / "stopped") == example.result(tmp_path / "whole")


def checkpoints(scratch: Path) -> list[Path]:
    return sorted(scratch.glob("step-*"))


def start(corpus: Path, folder: Path, options: dict[str, object]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, str(DRIVER), str(corpus), str(folder), json.dumps(options)], env=environment)


def kill_when(process: subprocess.Popen[bytes], moment: Callable[[], bool]) -> bool:
    """SIGKILL as soon as `moment` has come; False when the process was faster."""
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        if moment():
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.001)  # a checkpoint takes longer, and the process needs its processor
    return process.wait() == -signal.SIGKILL


def test_a_kill_gives_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    """Killed between two checkpoints, and, gone on, inside one."""
    options: dict[str, object] = {"phase": {"tokens": MANY_STEPS * 128}, "device": {"threads": 1}}
    phase = example.tiny_phase(tokens=MANY_STEPS * 128)
    scratch = tmp_path / "killed" / "scratch"

    def between() -> bool:
        return len(checkpoints(scratch)) == 2

    def inside() -> bool:
        return bool(checkpoints(scratch)) and any(scratch.glob(".step-*.tmp"))

    for moment in (between, inside):
        for left in scratch.glob(".step-*.tmp"):  # so that the next one that is seen is being written
            shutil.rmtree(left)
        for _ in range(5):  # a process that is faster than the kill writes its result; then try again
            if kill_when(start(corpus, tmp_path / "killed", options), moment):
                break
            for old in (tmp_path / "killed").rglob("*"):
                if old.is_file():
                    old.unlink()
        assert example.result(tmp_path / "killed") == {}
        assert checkpoints(scratch)
    example.run_training(corpus, tmp_path / "killed", phase=phase)
    example.run_training(corpus, tmp_path / "whole", phase=phase)
    assert example.result(tmp_path / "killed") == example.result(tmp_path / "whole")
    assert not list(scratch.glob(".*.tmp")), "what a kill left half-written was not cleared away"


def flip_a_bit(checkpoint: Path) -> None:
    path = checkpoint / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate_the_manifest(checkpoint: Path) -> None:
    path = checkpoint / "manifest.json"
    path.write_bytes(path.read_bytes()[:20])


def replace_the_manifest(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").write_text("[]")


def lose_the_state(checkpoint: Path) -> None:
    (checkpoint / "state.json").unlink()


@pytest.mark.parametrize("damage", [flip_a_bit, truncate_the_manifest, replace_the_manifest, lose_the_state])
def test_a_damaged_checkpoint_is_passed_over(
    damage: Callable[[Path], None], corpus: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    example.run_training(corpus, tmp_path / "stopped", stopping=example.after(8))
    before, newest = checkpoints(tmp_path / "stopped" / "scratch")
    damage(newest)
    notes = Notes()
    found = newest_checkpoint(tmp_path / "stopped" / "scratch", notes)
    assert found is not None
    assert found.state["step"] == int(before.name[5:])
    assert len(notes.notes) == 1
    assert newest.name in notes.notes[0]
    example.run_training(corpus, tmp_path / "stopped")
    assert example.result(tmp_path / "stopped") == whole


def test_with_every_checkpoint_damaged_it_starts_anew(corpus: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    example.run_training(corpus, tmp_path / "stopped", stopping=example.after(8))
    for checkpoint in checkpoints(tmp_path / "stopped" / "scratch"):
        flip_a_bit(checkpoint)
    example.run_training(corpus, tmp_path / "stopped")
    assert example.result(tmp_path / "stopped") == whole


def test_two_checkpoints_are_kept_and_none_is_a_pickle(corpus: Path, tmp_path: Path) -> None:
    phase = example.tiny_phase(tokens=40 * 128)
    example.run_training(corpus, tmp_path, phase=phase)
    assert [path.name for path in checkpoints(tmp_path / "scratch")] == ["step-00000036", "step-00000038"]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json", ".jsonl", ".lmpipe"}  # the last: TensorBoard's
    for path in files:
        opening = path.read_bytes()[:2]
        assert not opening.startswith((b"PK", b"\x80")), f"{path} is a pickle or a zip of them"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_a_resume_in_another_process_gives_the_same_bytes(precision: str, corpus: Path, tmp_path: Path) -> None:
    size = {"tokens": 8 * 4096, "batch_tokens": 4096, "validation": {"every_tokens": 3 * 4096, "tokens": 4096}}
    values = {"precision": precision, **size}  # large enough for two threads to add to the same row of a gradient
    options: dict[str, object] = {"phase": values, "device": {"threads": 2, "compile": True}}
    assert start(corpus, tmp_path / "whole", options).wait() == 0
    assert start(corpus, tmp_path / "stopped", {**options, "stop_after": 5}).wait() == 0
    assert example.result(tmp_path / "stopped") == {}
    assert start(corpus, tmp_path / "stopped", options).wait() == 0
    assert example.result(tmp_path / "stopped") == example.result(tmp_path / "whole")
