"""Ten seconds of real training on random ids, measured: `python -m lmpipe.training.calibration`, JSON in, JSON out.

Runs the same `TrainingRun` as a stage, in a process of its own, so that its time and peak memory are the stage's. One thing
differs: the calibration may be the first on this machine to compile this step, which takes 20 s on two cores, and the stage
then finds it in torch's cache on disk. So a first step is taken twice, and the second counts.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

STARTED_AT = time.perf_counter()
"""Taken before torch is imported: importing it is part of what the stage takes."""


def calibrate(request: dict[str, Any], started_at: float) -> dict[str, Any]:
    """Train for `request["seconds"]` after the first two steps; gives a `Calibration` as plain data."""
    from pydantic import TypeAdapter

    from lmpipe.base.progress import Silent
    from lmpipe.models.config import ModelConfig
    from lmpipe.training.checkpoint import save_checkpoint
    from lmpipe.training.config import PhaseConfig
    from lmpipe.training.loop import CHECKPOINTS, Device, TrainingRun, validations
    from lmpipe.training.memory import peak_memory_bytes
    from lmpipe.training.prediction import Calibration
    from lmpipe.training.process import settings_of_a_run

    model: Any = TypeAdapter(ModelConfig).validate_json(json.dumps(request["model"]))
    phase = PhaseConfig.model_validate_json(json.dumps({**request["phase"], "bucket_by_length": False}))  # random ids: one text
    device = Device(request["device"], request["threads"], request["compile"])
    with tempfile.TemporaryDirectory() as folder, settings_of_a_run(device.kind, device.threads, compiled=device.compile):
        writing = _timed(lambda: _write_random_tokens(Path(folder), request["vocab_size"], model.context, phase))
        run = TrainingRun(Path(folder), model, phase, 0, device, Silent())
        run.check()
        if device.compile:
            import_module("torch._inductor.compile_fx")  # which the first step loads, whatever it finds in the cache
        startup = time.perf_counter() - started_at - writing
        for _ in range(2):  # the first compiles, the second still warms up
            run._one_step(Path(folder), watched=False)
        run._validate()
        used = time.process_time()
        until = time.perf_counter() + request["seconds"]
        seconds: list[float] = []
        while not seconds or time.perf_counter() < until:
            before = time.perf_counter()
            run._one_step(Path(folder), watched=False)
            seconds.append(time.perf_counter() - before)
        busy = (time.process_time() - used) / sum(seconds)
        validation, checkpoint = (
            _timed(run._validate),
            _timed(lambda: save_checkpoint(Path(folder) / "checkpoints", run.state.step, run.state.to_checkpoint())),
        )
        peak = peak_memory_bytes()
        again = _first_step_again(run, Path(folder))
    return Calibration(
        steps=len(seconds),
        phase_steps=run.steps,
        startup_seconds=startup + max(0.0, again - median(seconds)),
        seconds_per_step=median(seconds),
        validation_seconds=validation,
        checkpoint_seconds=checkpoint,
        validations=validations(phase, run.plan),
        checkpoints=CHECKPOINTS,
        cpu_seconds_per_second=busy,
        peak_memory_bytes=peak,
    ).model_dump(mode="json")


def _first_step_again(run: Any, folder: Path) -> float:
    """Seconds of a first step that finds what it compiles to in the cache on disk."""
    import torch.compiler

    from lmpipe.training.step import make_losses

    torch.compiler.reset()
    run.losses = make_losses(run.state.model, run.objective, compile=run.device.compile, progress=run.progress)
    return _timed(lambda: run._one_step(folder, watched=False))


def _timed(work: Any) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def _write_random_tokens(folder: Path, vocab_size: int, context: int, phase: Any) -> None:
    from lmpipe.tokens.shards import ShardWriter
    from lmpipe.training.config import batching

    generator = np.random.default_rng(0)
    sizes = {"train": 4 * batching(phase, context).tokens_per_step, "validation": phase.validation.tokens + 2 * context}
    for split, size in sizes.items():
        with ShardWriter(folder / split, vocab_size=vocab_size, end_of_text_id=0) as writer:
            for _ in range(max(2, size // 1000 + 1)):
                writer.append(generator.integers(1, vocab_size, 1000), 1000)


if __name__ == "__main__":
    print(json.dumps(calibrate(json.load(sys.stdin), STARTED_AT)))
