"""Keeps freed memory in the process: on glibc, page faults of large tensors are a hidden cost of training on a CPU."""

from __future__ import annotations

import ctypes
import resource
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of mallopt(3)."""


def keep_freed_memory() -> bool:
    """Ask the C library to reuse freed blocks instead of returning them to the system; whether it agreed.

    What a preloaded tcmalloc is used for elsewhere, without preloading: large blocks come from the heap, which never shrinks.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library (musl has no mallopt)
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 << 20))
    return [mallopt(parameter, value) for parameter, value in settings] == [1, 1, 1]


def peak_memory_bytes() -> int:
    """The most memory that this process ever had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux
