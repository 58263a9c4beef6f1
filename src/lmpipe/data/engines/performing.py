"""One task, done in a folder that appears whole or not at all. What every engine calls in the end, wherever it runs.

Knows tasks and folders; not who asks.
"""

from __future__ import annotations

import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lmpipe.base.errors import LmpipeError
from lmpipe.base.files import storing, sync_tree

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
Tick = Callable[[float], None]
"""Takes how much of the task was done since the last call, in the units of its size."""


class Task(Protocol[T_contra]):
    """What does the work: a function of a module, so that another process can import it."""

    def __call__(self, task: T_contra, folder: Path, tick: Tick) -> None:
        """Write everything that belongs to `task` into `folder`, an empty one."""


def temporary_of(folder: Path) -> Path:
    """Where a task is done before its folder appears. It is there only while the task runs, or after it was killed."""
    return folder.with_name(f".{folder.name}.tmp")


def perform(function: Task[T], task: T, folder: Path, tick: Tick) -> None:
    """Do one task in a folder with a temporary name, which a kill leaves behind and the next attempt empties."""
    from lmpipe.data.engines.without_pandas import spare_pandas  # here, because it imports pyarrow

    spare_pandas()
    temporary = temporary_of(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    with storing(folder):
        function(task, temporary, tick)
        publish(temporary, folder)
    _give_memory_back()


def _give_memory_back() -> None:
    """Arrow keeps what a task freed; a process that does hundreds would grow with them by a quarter (335 MB against 275)."""
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()


def publish(temporary: Path, folder: Path) -> None:
    """Make what was written durable, and give it its name."""
    sync_tree(temporary)
    temporary.rename(folder)


def perform_elsewhere(function: Task[Any], task: Any, folder: Path, tick: Tick) -> BaseException | dict[str, str] | None:
    """`perform` in another process: None, an error with a message as plain data, or a defect with its traceback as a note."""
    try:
        perform(function, task, folder, tick)
    except LmpipeError as error:
        return error.to_json()  # not every exception can be pickled
    except Exception as error:
        error.add_note(f"in a worker:\n{traceback.format_exc()}")
        return error
    return None
