"""What a run does when something goes wrong on the way: numbers that are none, jumps, too little memory."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import training_example as example

from lmpipe.base.errors import TrainingError
from lmpipe.base.progress import Silent
from lmpipe.training.checkpoint import newest_checkpoint
from lmpipe.training.fitting import fewer_rows
from lmpipe.training.loop import Device, TrainingRun
from lmpipe.training.objectives import Losses
from lmpipe.training.optimizer_config import AdamWConfig
from lmpipe.training.optimizers import MasterOptimizer
from lmpipe.training.process import settings_of_a_run
from lmpipe.training.scaling import FIRST, INTERVAL, LossScale, no_half
from lmpipe.training.step import Gradient

STEPS = 24


def run_with_faults(
    corpus: Path, folder: Path, faults: dict[int, float], *, stop_before: int = 1000, **options: Any
) -> dict[str, Any]:
    """A run in which the loss of the batches at some positions is multiplied; goes on from what `folder` holds."""
    for part in ("scratch", "output/observed"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    phase = example.tiny_phase(tokens=STEPS * 128, **options)
    with settings_of_a_run("cpu", 1, compiled=False):
        run = TrainingRun(corpus, example.tiny_model(), phase, 7, Device(), Silent())
        plain = run.losses

        def faulty(*part: torch.Tensor) -> Losses:
            factor = faults.get(run.state.position, 1.0) if run.state.model.training else 1.0
            return Losses(*(value * factor for value in plain(*part)[:2]))

        run.losses = faulty
        if checkpoint := newest_checkpoint(folder / "scratch", Silent()):
            run.state.restore(checkpoint)
        asked = iter(range(10**6))
        if not run.go_on(folder / "scratch", lambda: next(asked) >= stop_before):
            return {}
        return run.finish(folder / "output", folder / "output" / "observed")


def curve(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "output" / "curve.jsonl").read_text().splitlines()]


def test_a_step_that_is_not_finite_is_skipped(corpus: Path, tmp_path: Path) -> None:
    facts = run_with_faults(corpus, tmp_path, {9: float("nan"), 10: float("inf")}, on_non_finite="skip")
    assert facts["steps"] == STEPS
    assert facts["incidents"] == 2
    skipped = [row for row in curve(tmp_path) if "skipped" in row]
    assert [row["step"] for row in skipped] == [10, 11]
    assert "nan" in skipped[0]["skipped"]
    assert [row["step"] for row in curve(tmp_path) if "loss" in row] == [*range(1, 10), *range(12, STEPS + 1)]


def test_in_fp16_an_overflow_halves_the_scale_and_a_resume_remembers_it(corpus: Path, tmp_path: Path) -> None:
    faults = {3: 5e3, 4: 5e3}  # times a scale of 65,536: beyond fp16's range, and so for a scale of 32,768
    facts = run_with_faults(corpus, tmp_path / "whole", faults, precision="fp16")
    assert facts["incidents"] == 2
    assert [row["step"] for row in curve(tmp_path / "whole") if "skipped" in row] == [4, 5]
    assert all(math.isfinite(row["gradient_norm"]) for row in curve(tmp_path / "whole") if "loss" in row)
    run_with_faults(corpus, tmp_path / "stopped", faults, precision="fp16", stop_before=6)
    checkpoint = newest_checkpoint(tmp_path / "stopped" / "scratch", Silent())
    assert checkpoint
    assert checkpoint.state["loss_scale"][0] == 65536 / 4
    run_with_faults(corpus, tmp_path / "stopped", faults, precision="fp16")
    assert example.result(tmp_path / "stopped") == example.result(tmp_path / "whole")


def test_after_many_steps_without_an_overflow_the_scale_grows() -> None:
    network = torch.nn.Linear(2, 2)
    scale = LossScale(MasterOptimizer(network, AdamWConfig(), "fp16"))
    for _ in range(INTERVAL):
        assert not scale.judge(Gradient(1.0, 1.0, {}))
    assert scale.numbers() == [2 * FIRST, 0]
    assert "left the range" in scale.judge(Gradient(1.0, math.inf, {}))
    assert scale.numbers() == [FIRST, 0]
    assert not scale.judge(Gradient(math.nan, math.nan, {})), "the loss itself is none: not the scale's fault"


def test_fp16_is_refused_where_torch_cannot_compute_it() -> None:
    with pytest.raises(TrainingError, match="cannot train in fp16") as raised:
        raise no_half(RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Half'"), "cpu")
    assert "precision: auto" in str(raised.value)


def test_a_jump_is_skipped_and_without_the_rule_it_is_not(corpus: Path, tmp_path: Path) -> None:
    rule = {"action": "skip", "window": 8}
    facts = run_with_faults(corpus, tmp_path / "watched", {12: 1e4}, on_spike=rule, average={"decay": 0.9})
    assert facts["incidents"] == 1
    (row,) = [row for row in curve(tmp_path / "watched") if "skipped" in row]
    assert row["step"] == 13
    assert "jumped" in row["skipped"]
    assert run_with_faults(corpus, tmp_path / "unwatched", {12: 1e4})["incidents"] == 0


def test_rolled_back_it_goes_on_behind_the_batch(corpus: Path, tmp_path: Path) -> None:
    facts = run_with_faults(corpus, tmp_path, {9: float("nan")}, on_non_finite="roll_back")
    rows = curve(tmp_path)
    (back,) = [row for row in rows if "rolled_back_from" in row]
    assert back["rolled_back_from"] == 10
    assert 0 < back["step"] < 10
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, STEPS + 1))
    assert facts["steps"] == STEPS


@pytest.mark.parametrize("action", ["skip", "roll_back"])
def test_after_an_incident_a_resume_gives_the_same_bytes(action: str, corpus: Path, tmp_path: Path) -> None:
    faults = {5: float("nan"), 14: float("nan")}
    options: dict[str, Any] = {"on_non_finite": action, "average": {"decay": 0.9}}
    run_with_faults(corpus, tmp_path / "whole", faults, **options)
    for stop_before in (4, 5, 3, 4):  # right before the first, and right after what followed it
        assert run_with_faults(corpus, tmp_path / "stopped", faults, stop_before=stop_before, **options) == {}
    run_with_faults(corpus, tmp_path / "stopped", faults, **options)
    assert example.result(tmp_path / "stopped") == example.result(tmp_path / "whole")


def test_stop_is_an_error_and_so_are_too_many(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="jumped"):
        run_with_faults(corpus, tmp_path / "stop", {12: 1e4}, on_spike={"action": "stop", "window": 8})
    always = dict.fromkeys(range(1000), float("nan"))
    with pytest.raises(TrainingError, match="after 100 steps that were skipped"):
        run_with_faults(corpus, tmp_path / "always", always, on_non_finite="roll_back")
    assert example.result(tmp_path / "stop") == {}


# ----------------------------------------------------------------------------------------------------------------- memory

LIMITED = """
import json, resource, sys
from pathlib import Path
import training_example as example
from lmpipe.base.progress import Silent
from lmpipe.training.loop import Device, TrainingRun
from lmpipe.training.process import settings_of_a_run

class Notes(Silent):
    def note(self, text):
        notes.append(text)

notes = []
corpus, megabytes, vocabulary = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
phase = example.tiny_phase(tokens=4096, batch_tokens=1024, micro_batch_tokens=1024)
with settings_of_a_run("cpu", 1, compiled=False):
    run = TrainingRun(corpus, example.tiny_model(dropout=0.0), phase, 7, Device(), Notes())
    if megabytes:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20),) * 2)
    run._one_step(Path("."), watched=False)
    row = run.state.curve[-1]
print(json.dumps({"notes": notes, "micro_rows": run.state.micro_rows, **row}))
"""


def limited(corpus: Path, megabytes: int) -> dict[str, Any]:
    command = [sys.executable, "-c", LIMITED, str(corpus), str(megabytes), "8000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    value: dict[str, Any] = json.loads(done.stdout)
    return value


@pytest.mark.slow  # two processes that import torch
@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux counts it")
def test_too_little_memory_halves_the_rows_and_keeps_the_batch(tmp_path: Path) -> None:
    corpus = example.write_corpus(tmp_path / "corpus", documents=400, vocab_size=8000)
    free, tight = limited(corpus, 0), limited(corpus, 80)
    assert free["micro_rows"] == 32
    assert free["notes"] == []
    assert tight["micro_rows"] < 32
    assert "memory was not enough for 32 rows at once" in tight["notes"][0]
    for key in ("loss", "gradient_norm"):
        assert tight[key] == pytest.approx(free[key], rel=1e-5)


def test_rows_that_are_tried_next_divide_the_batch() -> None:
    assert [fewer_rows(rows, 24) for rows in (24, 12, 8, 3)] == [12, 6, 4, 1]
    with pytest.raises(TrainingError, match="single row"):
        fewer_rows(1, 24)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_activations_computed_again_give_the_same_bytes(precision: str, corpus: Path, tmp_path: Path) -> None:
    results: list[dict[str, bytes]] = []
    for again in (False, True):
        phase = example.tiny_phase(checkpoint_activations=again, precision=precision)
        example.run_training(corpus, tmp_path / str(again), phase=phase)
        results.append(example.result(tmp_path / str(again)))
    assert results[0] == results[1]
