"""What a training run asks of its whole process, and gives back when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lmpipe.training.memory import keep_freed_memory


@contextmanager
def settings_of_a_run(kind: str, threads: int, *, compiled: bool) -> Iterator[None]:
    """Numbers below the normal range count as zero, `threads` threads, and on a CPU sums in a fixed order; undone at the end.

    Left on, the first would change the caller's own arithmetic: `5e-324` would equal 0. (What the C library keeps stays kept.)
    """
    keep_freed_memory()
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    if kind == "cpu":
        # Compiled by torch 2.13, the embedding's gradient is otherwise added up by racing threads: other bytes each time.
        _sum_in_a_fixed_order(True, compiled=compiled)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a pass over memory each
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before[0])
        _sum_in_a_fixed_order(before[1], compiled=compiled)


def _sum_in_a_fixed_order(wanted: bool, *, compiled: bool) -> None:
    if compiled:
        torch.use_deterministic_algorithms(wanted)  # tells the compiler, too, which takes more than a second to import
    else:
        torch.set_deterministic_debug_mode("error" if wanted else "default")
