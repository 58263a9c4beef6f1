"""A world of its own for a process: no network, no other process, and of all files only those it needs. Standard library only.

    real root       new mount, process, network, IPC and host name spaces as root; the program then runs as a user that nobody
    is anyone else     a new user namespace first, which gives the right to make the others (where the system allows it)

The new root is a small file system in memory that holds read-only views of the interpreter and the system's libraries, three
devices, and one folder that can be written, `/sandbox`, also in memory and bounded in size.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from lmpipe.evaluation.code.kernel import detach, mount, syscall, unshare

SANDBOX = "/sandbox"
INSIDE_ID = 1000
"""User and group in a new user namespace; not 0, so that starting the program drops every capability."""

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_NOSUID, _NODEV, _BIND, _RECURSIVE, _PRIVATE = 2, 4, 4096, 16384, 1 << 18
_ATTRIBUTE_READ_ONLY, _ATTRIBUTE_NOSUID = 1, 2
_AT_RECURSIVE, _HERE = 0x8000, -100
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")


class _MountAttributes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace"))


def enter() -> None:
    """Leave the namespaces of the system. The next process that is forked is the first of the new process namespace.

    Raises:
        OSError: when the system does not allow it.
    """
    flags = _NEWNS | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET
    if os.geteuid() == 0:
        unshare(flags)
    else:
        user, group = os.geteuid(), os.getegid()
        unshare(flags | _NEWUSER)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/gid_map", f"{INSIDE_ID} {group} 1")
        _write("/proc/self/uid_map", f"{INSIDE_ID} {user} 1")
    mount("none", "/", "", _RECURSIVE | _PRIVATE)


def furnish(root: str, *, readable: Iterable[str], disk_bytes: int, owner: int) -> None:
    """Build the new root and make it the root.

    Args:
        root: an empty folder to build it on.
        readable: folders and files that can be seen, read-only, at their own paths; those that do not exist are passed over.
        disk_bytes: of `/sandbox`.
        owner: user and group of `/sandbox`, as numbers of this user namespace.
    """
    mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    shown: list[str] = []
    for path in sorted(set(readable)):
        if not any(path == seen or path.startswith(seen + "/") for seen in shown) and _show(root, path):
            shown.append(path)
    for device in _DEVICES:
        _bind(device, root + device)
    os.mkdir(root + SANDBOX)
    options = f"size={disk_bytes},nr_inodes=1024,mode=700,uid={owner},gid={owner}"
    mount("tmpfs", root + SANDBOX, "tmpfs", _NOSUID | _NODEV, options)
    os.chdir(root)
    syscall("pivot_root", b".", b".")  # the old root then lies over the new one, see pivot_root(2)
    detach(".")
    os.chdir("/")
    _make_read_only("/", recursive=False)
    os.chdir(SANDBOX)


def _show(root: str, path: str) -> bool:
    """Whether `path` can now be seen below the new root, with everything under it."""
    if os.path.islink(path):  # /lib -> usr/lib
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.symlink(os.readlink(path), root + path)
        return False
    if not os.path.exists(path):
        return False
    _bind(path, root + path)
    _make_read_only(root + path, recursive=True)
    return os.path.isdir(path)


def _bind(source: str, target: str) -> None:
    os.makedirs(target if os.path.isdir(source) else os.path.dirname(target), exist_ok=True)
    if not os.path.isdir(source):
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    mount(source, target, "", _BIND | _RECURSIVE)


def _make_read_only(target: str, *, recursive: bool) -> None:
    attributes = _MountAttributes(_ATTRIBUTE_READ_ONLY | _ATTRIBUTE_NOSUID, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    syscall("mount_setattr", _HERE, target.encode(), flags, ctypes.byref(attributes), ctypes.sizeof(attributes))


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
