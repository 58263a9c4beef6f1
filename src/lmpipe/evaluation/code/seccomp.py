"""A filter of system calls that a process and everything it starts can never take off. Standard library only.

Refused are: new sockets, other processes' memory and file descriptors, namespaces and mounts, kernel interfaces with a
history of holes, shared memory that outlives its process, leaving the process group (so that one signal ends everything),
other processes' limits, and, where there is no process namespace, signals to any other process.
"""

from __future__ import annotations

import ctypes
import errno
import platform

from lmpipe.evaluation.code.kernel import PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, numbers, prctl

REFUSED = (
    "socket", "io_uring_setup",
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_open", "pidfd_getfd",
    "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount",
    "fspick", "mount_setattr", "name_to_handle_at", "open_by_handle_at",
    "bpf", "perf_event_open", "userfaultfd", "add_key", "request_key", "keyctl", "fanotify_init",
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "swapon", "swapoff",
    "shmget", "msgget", "semget", "memfd_create", "memfd_secret",
    "setsid", "setpgid",
)  # fmt: skip
SIGNALS = ("tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal")
SIGNALS_TO_ONE = ("kill", "tgkill")
NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_KILL_PROCESS, _ALLOW, _ERROR = 0x80000000, 0x7FFF0000, 0x00050000
_X32 = 0x40000000

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, constant."""


class _Filter(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Filter)))


def available() -> bool:
    """Whether the numbers of this processor's system calls are known here."""
    return platform.machine() in _ARCHITECTURES


def instructions(*, own_pid: int | None) -> list[Instruction]:
    """The filter as a program of classic BPF.

    Args:
        own_pid: the only process that may be sent signals; None: any that can be seen.
    """
    known = numbers()
    refuse = (_RETURN, 0, 0, _ERROR | errno.EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _ARCHITECTURES[platform.machine()]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32),
        refuse,
    ]
    for name in (*REFUSED, *(SIGNALS if own_pid is not None else ())):
        program += [(_EQUAL, 0, 1, known[name]), refuse]
    # libc then falls back to clone, whose flags are an argument that a filter can read
    program += [(_EQUAL, 0, 1, known["clone3"]), (_RETURN, 0, 0, _ERROR | errno.ENOSYS)]

    def judged_by_argument(name: str, test: Instruction) -> list[Instruction]:
        return [(_EQUAL, 0, 4, known[name]), (_LOAD, 0, 0, _FIRST_ARGUMENT_AT), test, refuse, allow]

    program += judged_by_argument("clone", (_ANY_BIT, 0, 1, NEW_NAMESPACES))
    program += judged_by_argument("prlimit64", (_EQUAL, 1, 0, 0))
    for name in SIGNALS_TO_ONE if own_pid is not None else ():
        program += judged_by_argument(name, (_EQUAL, 1, 0, own_pid or 0))
    return [*program, allow]


def install(*, own_pid: int | None) -> None:
    """Put the filter on this process, for good.

    Raises:
        OSError: when the kernel has no such filters.
    """
    program = instructions(own_pid=own_pid)
    filters = (_Filter * len(program))(*(_Filter(*instruction) for instruction in program))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, 2, ctypes.byref(_Program(len(program), filters)))
