"""Permission bits that bind root, too: what an ordinary user meets, tested as whoever runs the tests."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

BEYOND_PERMISSIONS = (1 << 1) | (1 << 2)
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, capabilities(7): what lets root past permission bits."""
VERSION_3 = 0x20080522  # of capget(2)
GET_SECUREBITS, SET_SECUREBITS, NOROOT = 27, 28, 1
"""Of prctl(2). With SECBIT_NOROOT a program that root starts gets no capabilities of its own accord."""


@contextmanager
def permissions_hold() -> Iterator[None]:
    """Inside, this thread and the processes that it starts may do what the permission bits say, even as root."""
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root's way past permission bits can be closed on Linux only")
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(VERSION_3, 0)
    kept, fewer = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()  # twice: effective, permitted, inheritable
    libc.capget(header, kept)
    fewer[:] = kept[:]
    fewer[0] &= ~BEYOND_PERMISSIONS & 0xFFFFFFFF
    bits = libc.prctl(GET_SECUREBITS, 0, 0, 0, 0)
    try:
        if libc.prctl(SET_SECUREBITS, bits | NOROOT, 0, 0, 0) or libc.capset(header, fewer):
            pytest.skip(f"root's way past permission bits cannot be closed here: {os.strerror(ctypes.get_errno())}")
        yield
    finally:
        libc.capset(header, kept)
        libc.prctl(SET_SECUREBITS, bits, 0, 0, 0)
