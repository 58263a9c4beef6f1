"""Which files a process and all that it starts may touch, without any privilege (Landlock, Linux 5.13).

Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable

from lmpipe.evaluation.code.kernel import PR_SET_NO_NEW_PRIVS, prctl, syscall

_EXECUTE, _WRITE, _READ_FILE, _READ_FOLDER = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_FIRST_RIGHTS = (1 << 13) - 1
_READING = _EXECUTE | _READ_FILE | _READ_FOLDER
_OF_FILES = _EXECUTE | _WRITE | _READ_FILE | _TRUNCATE | _IOCTL
_PATH_BENEATH = 1


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The version of the interface that this kernel offers; 0 where it has none."""
    with contextlib.suppress(OSError):
        return syscall("landlock_create_ruleset", None, 0, 1)
    return 0


def restrict(*, readable: Iterable[str], writable: Iterable[str]) -> None:
    """Take from this process, for good, every file but these.

    Where the kernel knows how (version 4 and 6), TCP and signals to processes outside are taken, too.

    Args:
        readable: folders and files that may be read and executed; those that do not exist are passed over.
        writable: folders and files that may be read, written, made and deleted.

    Raises:
        OSError: when the kernel does not offer it.
    """
    offered = version()
    if offered == 0:
        raise OSError("this kernel has no Landlock")
    newer = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL))
    handled = _FIRST_RIGHTS | sum(right for since, right in newer if offered >= since)
    rules = _Ruleset(handled, 0b11 if offered >= 4 else 0, 0b11 if offered >= 6 else 0)
    size = 8 if offered < 4 else 16 if offered < 6 else 24
    ruleset = syscall("landlock_create_ruleset", ctypes.byref(rules), size, 0)
    for rights, paths in ((_READING, readable), (handled, writable)):
        for path in paths:
            _allow(ruleset, path, rights & handled)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    syscall("landlock_restrict_self", ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        allowed = rights if os.path.isdir(path) else rights & _OF_FILES
        syscall("landlock_add_rule", ruleset, _PATH_BENEATH, ctypes.byref(_Beneath(allowed, handle)), 0)
    finally:
        os.close(handle)
