"""The processes that stages are forked from: started when first needed, kept for the stages that follow, ended with the run.

Python and the libraries that most stages use take half a second to load, torch another whole one, for stages that may work for
a tenth. A supervisor (`child.py`) loads them once, does nothing with them, and forks every stage's process from itself. Stages
that need more (`Stage.preload`) have a supervisor of their own, so that torch does not count to the memory of those without.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import Self

from lmpipe.base.runtime import Runtime

ALWAYS = ("pydantic.main", "pyarrow.parquet", "pyarrow.compute")
"""numpy comes along. Its BLAS and Arrow start threads when they are loaded, and are prepared for a fork (pthread_atfork)."""
EXIT_SECONDS = 20.0
"""How long a stage's process may take to end after its function has returned; then it is ended, which is no failure."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
)
Supervisor = subprocess.Popen[bytes]


class Supervisors:
    """Those of one run, by what they load before they fork.

    >>> with Supervisors() as supervisors:
    ...     first = supervisors.have((), Runtime())
    ...     first is supervisors.have((), Runtime())
    True
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[tuple[str, ...], tuple[tuple[str, str], ...]], Supervisor] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._kept.values():
            end(process)

    def have(self, preload: tuple[str, ...], runtime: Runtime) -> Supervisor:
        """One that waits for a job, has loaded `preload`, and has the threads of `runtime` and this process's environment."""
        environment = _environment(runtime)
        place = preload, tuple(sorted(environment.items()))
        process = self._kept.get(place)
        if process is not None and not _waits(process):
            end(process)
            process = None
        if process is None:
            process = self._kept[place] = _start(preload, environment)
        return process


def _waits(process: Supervisor) -> bool:
    return process.poll() is None and process.stdin is not None and not process.stdin.closed


def hang_up(process: Supervisor) -> None:
    """The end of its standard input makes a supervisor end its stage, all that the stage started, and itself."""
    if process.stdin and not process.stdin.closed:
        with suppress(BrokenPipeError):
            process.stdin.close()


def end(process: Supervisor) -> None:
    """Whatever it does, leave no process and no open file."""
    hang_up(process)
    try:
        process.wait(timeout=EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


def _start(preload: tuple[str, ...], environment: dict[str, str]) -> Supervisor:
    # Elsewhere than on Linux the system's own libraries do not survive a fork once they are loaded.
    modules = (*ALWAYS, *preload) if sys.platform == "linux" else ()
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "lmpipe.pipeline.child", str(os.getpid()), *modules],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C in the terminal reaches the runner alone, which asks the stage to save
    )


def _environment(runtime: Runtime) -> dict[str, str]:
    threads = str(runtime.resolved_threads())
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    fixed = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "true"}
    return {"PYTHONHASHSEED": "0", **os.environ, **fixed, **dict.fromkeys(THREAD_VARIABLES, threads)}
