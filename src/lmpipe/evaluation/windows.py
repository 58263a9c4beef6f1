"""How a document longer than the context is scored: overlapping windows, every token exactly once.

    document      t0 t1 t2 t3 t4 t5 t6 t7 t8 t9        (the last one closes the document)
    window 0    E [t0 t1 t2 t3]                        E: end-of-text stands before the first token
    window 1          .  . [t4 t5]                     context 4, stride 2: "." gives context and is not scored again
    window 2                .  . [t6 t7]
    window 3                      .  . [t8 t9]

Every scored token but the first `context` of a document has at least `context - stride` tokens before it. Windows never
reach into another document. It plans positions only, and holds four integers per window, no tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """Arrays with one entry per window, longest windows first so that a batch needs little padding."""

    document_W: Integers
    start_W: Integers
    """Position in its document of the window's first target."""
    length_W: Integers
    skip_W: Integers
    """Leading targets that an earlier window has scored."""

    def __len__(self) -> int:
        return len(self.document_W)

    def batches(self, tokens_at_once: int) -> Iterator[slice]:
        """Slices of windows whose padded size stays within `tokens_at_once` (one window at least)."""
        start = 0
        while start < len(self):
            stop = min(len(self), start + max(1, tokens_at_once // int(self.length_W[start])))
            yield slice(start, stop)
            start = stop


def plan_windows(document_tokens_D: Integers, *, context_length: int, stride: int) -> Windows:
    """Cut documents of the given lengths into windows.

    >>> plan_windows(np.array([10]), context_length=4, stride=2).start_W.tolist()
    [0, 2, 4, 6]
    """
    beyond_D = np.maximum(document_tokens_D - context_length, 0)
    windows_D = np.where(document_tokens_D > 0, 1 + -(-beyond_D // stride), 0)
    document_W = np.repeat(np.arange(len(document_tokens_D), dtype=np.int64), windows_D)
    first_W = np.repeat(np.cumsum(windows_D) - windows_D, windows_D)
    number_W = np.arange(len(document_W), dtype=np.int64) - first_W
    start_W = number_W * stride
    length_W = np.minimum(document_tokens_D[document_W] - start_W, context_length)
    skip_W = np.where(number_W > 0, context_length - stride, 0)
    order = np.argsort(-length_W, kind="stable")
    return Windows(document_W[order], start_W[order], length_W[order], skip_W[order])
