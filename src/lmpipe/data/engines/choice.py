"""Which engine does the tasks: said once for a stage's process, by whoever knows the runtime; no step needs to know.

    local                      a pool of processes on this machine
    ray, ray://HOST:PORT       tasks on a Ray cluster: the one that runs here (or a new one), or another
    slurm, slurm:OPTIONS       array jobs; the options are those of sbatch

The engine shows in no byte and in no identity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lmpipe.base.errors import RecipeError
from lmpipe.base.extras import require
from lmpipe.data.engines.guard import Rescue
from lmpipe.data.engines.performing import Task


@dataclass(frozen=True)
class Engine:
    """Where tasks are done."""

    on: str = "local"
    document_seconds: float = 300.0
    """How long nothing may be heard of a task that can be done without some document, before its worker is replaced."""


class Pool(Protocol):
    """What does tasks."""

    def run(
        self,
        function: Task[Any],
        tasks: Sequence[Any],
        folders: Sequence[Path],
        left: Sequence[int],
        rescue: Rescue[Any] | None,
    ) -> Iterator[int]:
        """Do the tasks numbered `left`; give their numbers, in order, as their folders have appeared."""


_LOCAL = Engine()
_ENGINE: ContextVar[Engine] = ContextVar("engine", default=_LOCAL)


def use_engine(engine: Engine) -> None:
    """Have all steps of this process done by `engine`, from here on."""
    _ENGINE.set(engine)


def current_engine() -> Engine:
    """The engine in use."""
    return _ENGINE.get()


def check_engine(on: str) -> None:
    """Refuse an engine that does not exist or is not installed, before anything is started.

    Raises:
        RecipeError: when there is no such engine.
        MissingExtraError: when Ray is not installed.
    """
    kind = on.partition(":")[0]
    if kind not in ("local", "ray", "slurm") or (kind == "ray" and on != "ray" and not on.startswith("ray://")):
        raise RecipeError(
            f"there is no engine '{on}'",
            where="--on",
            expected="local, ray, ray://HOST:PORT, slurm or slurm:OPTIONS (those of sbatch)",
        )
    if kind == "ray":
        require("ray", extra="ray", purpose=f"--on {on}")


def pool_of(engine: Engine, workers: int) -> Pool:
    """What does the tasks under `engine`; `workers` counts for the local pool and for a new Ray cluster."""
    kind, _, rest = engine.on.partition(":")
    if kind == "ray":
        from lmpipe.data.engines.ray_tasks import RayPool

        return RayPool(engine.on if rest else "", workers, engine.document_seconds)
    if kind == "slurm":
        from lmpipe.data.engines.slurm import SlurmArrays

        return SlurmArrays(rest, engine.document_seconds)
    from lmpipe.data.engines.local import LocalPool

    return LocalPool(workers, engine.document_seconds)
