"""How many threads the `tokenizers` library uses: a matter of where it runs, never of what it computes."""

from __future__ import annotations

import os


def use_threads(threads: int) -> None:
    """Let the library use this many threads in this process.

    Its pool reads the setting when it is first used and keeps it, so this belongs at the start of a stage's process; a later
    call only switches between one thread and the pool's number. Output never depends on it (a test compares the bytes).
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(max(1, threads))
