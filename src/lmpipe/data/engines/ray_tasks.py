"""Ray as the engine: every task is a Ray task on some node, which writes its shard into the shared store.

Needs the extra [ray], the same lmpipe on every node, and a store that all nodes reach under the same path. A node's process
keeps a worker of its own beside itself, so that a document which kills or hangs it is found there, as on one machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lmpipe.base.errors import LmpipeError, StageError
from lmpipe.base.extras import require
from lmpipe.data.engines.guard import Guard, Rescue
from lmpipe.data.engines.performing import Task
from lmpipe.data.engines.worker import raise_if_failed


class RayPool:
    """Does tasks on a Ray cluster."""

    def __init__(self, address: str, workers: int, document_seconds: float) -> None:
        self.address, self.workers, self.document_seconds = address, workers, document_seconds

    def run(
        self,
        function: Task[Any],
        tasks: Sequence[Any],
        folders: Sequence[Path],
        left: Sequence[int],
        rescue: Rescue[Any] | None,
    ) -> Iterator[int]:
        """Numbers of the tasks as they are done, in order; errors as in `LocalPool.run`.

        Raises:
            StageError: when the cluster cannot be reached, or a node's folder is not this one's.
        """
        ray = _connected(self.address, self.workers)
        remote = ray.remote(num_cpus=1, max_retries=2)(_perform_on_node)
        bound = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting: dict[int, Any] = {}
        queue = iter(left)
        for expected in left:
            while len(waiting) < bound and (number := next(queue, None)) is not None:
                folder = folders[number].absolute()
                waiting[number] = remote.remote(function, tasks[number], folder, rescue, self.document_seconds)
            try:
                raise_if_failed(ray.get(waiting.pop(expected)))
            except ray.exceptions.RayError as error:
                raise _lost_by_ray(folders[expected], error) from error
            if not folders[expected].is_dir():
                raise _not_shared(folders[expected])
            yield expected


def _perform_on_node(
    function: Task[Any], task: Any, folder: Path, rescue: Rescue[Any] | None, document_seconds: float
) -> BaseException | dict[str, str] | None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _guard_of_node(document_seconds).perform(function, task, folder, lambda amount: None, rescue)
    except LmpipeError as error:
        return error.to_json()
    except Exception as error:
        return error
    return None


@cache
def _guard_of_node(document_seconds: float) -> Guard:
    """One for each of Ray's processes, kept from task to task."""
    return Guard(document_seconds)


def _connected(address: str, workers: int) -> Any:
    """Ray, joined to the cluster at `address`, to the one that runs on this machine, or to a new one of this process alone."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", extra="ray", purpose="--on ray")
    if ray.is_initialized():
        return ray
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address:
            ray.init(address, **quiet)
        else:
            try:
                ray.init("auto", **quiet)
            except ConnectionError:
                ray.init("local", num_cpus=workers, include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise StageError(
            f"no Ray cluster answers at {address or 'this machine'}: {error}",
            where="--on",
            expected="a running cluster, such as `ray start --head` makes one",
            fix="check the address, or run without --on; what is done stays done",
        ) from error
    return ray


def _lost_by_ray(folder: Path, error: Exception) -> StageError:
    return StageError(
        f"Ray gave a task up: {type(error).__name__}",
        where=folder.parent.name,
        expected="nodes that stay, with enough memory",
        fix="run again: what is done stays done",
    )


def _not_shared(folder: Path) -> StageError:
    return StageError(
        "a node has done its task, and its folder is not here",
        where=str(folder),
        expected="a store that every node reaches under the same path",
        fix="put the store on a shared file system (--store)",
    )
