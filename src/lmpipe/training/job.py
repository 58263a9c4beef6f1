"""A training run as data: what another process must be told to do its part of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmpipe.base.config import Config
from lmpipe.base.progress import Progress
from lmpipe.models.config import ModelConfig
from lmpipe.training.config import PhaseConfig
from lmpipe.training.loop import Device, train
from lmpipe.training.materials import Judge, Materials
from lmpipe.training.ranks import ALONE, Ranks


class TrainingJob(Config):
    """The arguments of `loop.train` that are data."""

    tokens: Path
    output: Path
    model: ModelConfig
    phase: PhaseConfig
    seed: int
    device: Device
    scratch: Path
    observed: Path
    start: Path | None = None
    tokenizer: Path | None = None
    teacher: Path | None = None
    trackers: tuple[str, ...] = ()

    def run(
        self, *, progress: Progress, stopping: Callable[[], bool], judge: Judge | None = None, ranks: Ranks = ALONE
    ) -> dict[str, Any]:
        """`loop.train` with these arguments and those that are no data."""
        return train(
            self.tokens,
            self.output,
            model=self.model,
            phase=self.phase,
            seed=self.seed,
            device=self.device,
            scratch=self.scratch,
            observed=self.observed,
            progress=progress,
            stopping=stopping,
            start=self.start,
            materials=Materials(self.tokenizer, self.teacher, judge),
            trackers=self.trackers,
            ranks=ranks,
        )
