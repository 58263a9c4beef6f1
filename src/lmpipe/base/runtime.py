"""Where and how a run is executed. Never part of an identity: what is computed is a `Config`, and only that is hashed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Runtime:
    """Device, threads, workers, store. Training gives equal bytes at equal device, threads, processes and `compile`."""

    store: str = "store"
    """A local folder or an fsspec URL."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 0
    """Compute threads of one stage; 0: the processors this process may use, at most 8."""
    workers: int = 0
    """Processes of the data stages; 0: the processors this process may use."""
    processes: int = 1
    """Processes that train one model together, each with its share of the threads or a GPU of its own."""
    shard: bool = False
    """Whether each of these processes holds a part of the weights and of what the optimiser remembers, not all of them."""
    machines: int = 1
    """Machines that train one model together, so many processes on each; the others join by hand, see `docs/training.md`."""
    rendezvous: str = ""
    """HOST:PORT of this machine, where the other machines find it."""
    restarts: int = 0
    """How often all of these processes are started again, from the newest checkpoint, after one of them has died."""
    on: str = "local"
    """Where the tasks of the data stages are done: `local`, `ray`, `ray://HOST:PORT`, `slurm`, `slurm:OPTIONS`."""
    document_seconds: float = 300.0
    """A data task from which nothing is heard for so long loses its worker, and the document to blame is booked as failed."""
    compile: bool = True
    """Whether training may compile its step (needs a C++ compiler; falls back with a note where there is none)."""
    track: str = ""
    """Trackers beside TensorBoard in which training shows its curve, comma between two: `mlflow`, `wandb`."""
    isolate: bool = True
    """Run every stage in a process of its own: exact memory figures, and a killed stage does not take the runner along."""

    @property
    def trainers(self) -> int:
        """Processes that train together, on all machines."""
        return self.processes * self.machines

    def resolved_device(self) -> Literal["cpu", "cuda"]:
        """The device, after `auto` was resolved."""
        if self.device == "auto":
            return "cuda" if _has_cuda() else "cpu"
        return self.device

    def resolved_threads(self) -> int:
        """Compute threads, after `0` was resolved."""
        return self.threads or min(usable_processors(), 8)

    def resolved_workers(self) -> int:
        """Data processes, after `0` was resolved."""
        return self.workers or usable_processors()


def _has_cuda() -> bool:
    """Whether an NVIDIA driver is loaded and the installed torch is not its CPU build; found out without importing torch."""
    try:
        cpu_build = metadata.version("torch").endswith("+cpu")
    except metadata.PackageNotFoundError:
        return False
    return not cpu_build and Path("/proc/driver/nvidia/version").exists()


def usable_processors() -> int:
    """Processors that this process may run on (affinity is honoured, unlike `os.cpu_count`)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
