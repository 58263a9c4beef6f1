"""From a calibration to what training will cost. Knows no tensor library, so that plans stay fast."""

from __future__ import annotations

from lmpipe.base.config import Config


class Calibration(Config):
    """What some seconds of real training steps measured."""

    steps: int
    """Optimiser steps that were timed."""
    phase_steps: int
    """Optimiser steps of the whole phase."""
    startup_seconds: float
    """Loading, start-up checks, and what the first step takes beyond the others where it is compiled already."""
    seconds_per_step: float
    """Median."""
    validation_seconds: float
    """One validation."""
    checkpoint_seconds: float
    """One checkpoint."""
    validations: int
    checkpoints: int
    cpu_seconds_per_second: float
    """Processor seconds per second of training."""
    peak_memory_bytes: int


def predict(calibration: Calibration) -> dict[str, float]:
    """Seconds, processor seconds and peak memory of the whole phase."""
    seconds = (
        calibration.startup_seconds
        + calibration.phase_steps * calibration.seconds_per_step
        + calibration.validations * calibration.validation_seconds
        + calibration.checkpoints * calibration.checkpoint_seconds
    )
    return {
        "seconds": seconds,
        "cpu_seconds": seconds * calibration.cpu_seconds_per_second,
        "peak_memory_bytes": calibration.peak_memory_bytes,
    }
