"""Several processes for one training run: started by torch's elastic agent, listened to, stopped, and their death explained.

    stage's process                          rank 0 .. N-1: `python -m lmpipe.training.rank FOLDER`
      elastic agent, in a thread  --starts-->  train together (gloo or NCCL), all in step
      this module                 <--files---  figures, notes, facts, errors; --> a file that says stop

The folder lies in the run's scratch. A checkpoint knows no number of processes, so the next attempt may have another one.
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from lmpipe.base.errors import LmpipeError, TrainingError, error_from_json
from lmpipe.base.files import read_json
from lmpipe.base.progress import Progress
from lmpipe.training.checkpoint import newest_step
from lmpipe.training.job import TrainingJob
from lmpipe.training.rank import FACTS, FIGURES, JOB, NOTES, STOP, log_of

SECONDS_BETWEEN_LOOKS = 0.1
MEETING = "lmpipe"
"""What machines that meet say they come for."""
LAST_LINES = 5
"""Of a dead process's log, shown in the error."""
BEREAVED = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")
"""What a process says that died only because another one was gone."""


@dataclass(frozen=True)
class Where:
    """Which processes train together; see `Runtime`."""

    processes: int
    machines: int = 1
    rendezvous: str = ""
    restarts: int = 0

    def to_join(self, folder: Path) -> str:
        """What is to be typed on each of the other machines."""
        return (
            f"torchrun --nnodes {self.machines} --nproc-per-node {self.processes} --max-restarts {self.restarts} "
            f"--rdzv-backend c10d --rdzv-id {MEETING} --rdzv-endpoint {self.rendezvous} -m lmpipe.training.rank {folder}"
        )


def train_in_processes(job: TrainingJob, where: Where, *, progress: Progress, stopping: Callable[[], bool]) -> dict[str, Any]:
    """`loop.train` in several processes; where one dies, all are started again up to `where.restarts` times.

    Returns:
        Facts for the record; empty when asked to stop before the end.

    Raises:
        TrainingError: when there are fewer GPUs than processes, or a process died: which one, how, and its last words.
        LmpipeError: as `loop.train`, raised in any of them.
    """
    processes = where.processes
    if job.device.kind == "cuda" and processes > torch.cuda.device_count():
        raise TrainingError(
            f"{processes} processes were asked for, and there are {torch.cuda.device_count()} GPUs",
            expected="a GPU for each process",
            fix=f"--processes {torch.cuda.device_count()}, or --device cpu",
        )
    folder = job.scratch / "processes"
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier attempt
    folder.mkdir(parents=True)
    (folder / JOB).write_text(job.model_dump_json(), encoding="utf-8")
    agent, heard = _Agent(folder, where), _Heard(folder, progress)
    agent.start()
    if where.machines > 1:
        progress.note(f"waiting for the other machines, {where.machines} in all; to be typed on each: {where.to_join(folder)}")
    stopped = False
    try:
        while agent.is_alive():
            agent.join(SECONDS_BETWEEN_LOOKS)
            heard.pass_on()
            if not stopped and (stopped := stopping()):
                (folder / STOP).touch()
    except BaseException:  # asked to stop twice, say: nobody waits for the processes any more
        (folder / STOP).touch()
        raise
    heard.pass_on()
    if stopped and not (folder / FACTS).exists():
        return {}
    if agent.failures:
        raise _explained(agent.failures, folder, processes * where.machines, newest_step(job.scratch))
    if agent.error:
        raise agent.error
    return dict(read_json(folder / FACTS))


class _Agent(threading.Thread):
    """Torch's elastic agent. In a thread of its own, since it neither returns before the end nor leaves signals alone."""

    def __init__(self, folder: Path, where: Where) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.failures: Mapping[int, ProcessFailure] = {}
        self.error: Exception | None = None
        self.config = LaunchConfig(
            min_nodes=where.machines,
            max_nodes=where.machines,
            nproc_per_node=where.processes,
            run_id=MEETING,
            rdzv_backend="c10d",
            rdzv_endpoint=where.rendezvous or "localhost:0",
            local_addr=None if where.rendezvous else "localhost",
            max_restarts=where.restarts,
            logs_specs=DefaultLogsSpecs(),
        )

    def run(self) -> None:
        """Start the processes and wait for them."""
        logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what it would warn of is said here
        try:
            elastic_launch(self.config, sys.executable)("-m", "lmpipe.training.rank", str(self.folder))
        except ChildFailedError as error:
            self.failures = error.failures
        except Exception as error:  # raised again where the thread is waited for
            self.error = error


class _Heard:
    """Passes on what the first process posts."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.figures, self.notes, self.progress = folder / FIGURES, folder / NOTES, progress
        self._figures = ""
        self._notes = 0

    def pass_on(self) -> None:
        """What is new since the last time."""
        lines = self.notes.read_text(encoding="utf-8").split("\n")[:-1] if self.notes.exists() else []
        for line in lines[self._notes :]:
            self.progress.note(json.loads(line))
        self._notes = len(lines)
        text = self.figures.read_text(encoding="utf-8") if self.figures.exists() else ""
        if text != self._figures:
            self._figures, figures = text, json.loads(text)
            self.progress.update(figures["done"], figures["total"], figures["unit"], **figures["values"])


def _explained(failures: Mapping[int, ProcessFailure], folder: Path, processes: int, step: int | None) -> LmpipeError:
    """The error of the process that began it; others die because it is gone."""
    for path in sorted(folder.glob("error-*.json")):
        return error_from_json(read_json(path))
    logs = {rank: log_of(folder, rank) for rank in failures}
    rank = min(failures, key=lambda rank: (_was_bereaved(failures[rank], logs[rank]), failures[rank].timestamp, rank))
    status, log = failures[rank].exitcode, logs[rank]
    how = f"ended with status {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}"
    if status == -signal.SIGKILL:
        how += ", most likely by the system because memory ran out"
    lines = [line for line in _text(log).splitlines() if line.strip()][-LAST_LINES:]
    said = "\n".join(["its last words:", *(f"    {line}" for line in lines)]) if lines else "it said nothing"
    going_on = f"goes on from step {step:,}" if step else "starts anew"
    return TrainingError(
        f"process {rank} of {processes} (numbered from 0) {how}; the others were ended",
        where=f"{log}; {said}",
        expected="processes that all reach the end",
        fix=f"the same command {going_on}, with any number of processes; lower micro_batch_tokens where memory is short",
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _was_bereaved(failure: ProcessFailure, log: Path) -> bool:
    """Whether a process died of another one's death: ended by the agent, or cut off while it waited."""
    return failure.exitcode == -signal.SIGTERM or (failure.exitcode > 0 and any(words in _text(log) for words in BEREAVED))
