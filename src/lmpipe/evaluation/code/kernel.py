"""System calls that Python's standard library does not offer. Standard library only: runs in a bare interpreter."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any

# by name, for each processor: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux 6.12
_X86_64 = {
    "clone": 56, "kill": 62, "semget": 64, "msgget": 68, "shmget": 29, "socket": 41, "ptrace": 101, "setpgid": 109, "setsid":
    112, "rt_sigqueueinfo": 129, "pivot_root": 155, "chroot": 161, "mount": 165, "umount2": 166, "swapon": 167, "swapoff":
    168, "reboot": 169, "init_module": 175, "delete_module": 176, "tkill": 200, "tgkill": 234, "kexec_load": 246, "add_key":
    248, "request_key": 249, "keyctl": 250, "unshare": 272, "rt_tgsigqueueinfo": 297, "perf_event_open": 298, "fanotify_init":
    300, "prlimit64": 302, "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310,
    "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "memfd_create": 319, "kexec_file_load": 320, "bpf": 321,
    "userfaultfd": 323,
}  # fmt: skip
_AARCH64 = {
    "clone": 220, "kill": 129, "semget": 190, "msgget": 186, "shmget": 194, "socket": 198, "ptrace": 117, "setpgid": 154,
    "setsid": 157, "rt_sigqueueinfo": 138, "pivot_root": 41, "chroot": 51, "mount": 40, "umount2": 39, "swapon": 224,
    "swapoff": 225, "reboot": 142, "init_module": 105, "delete_module": 106, "tkill": 130, "tgkill": 131, "kexec_load": 104,
    "add_key": 217, "request_key": 218, "keyctl": 219, "unshare": 97, "rt_tgsigqueueinfo": 240, "perf_event_open": 241,
    "fanotify_init": 262, "prlimit64": 261, "name_to_handle_at": 264, "open_by_handle_at": 265, "setns": 268,
    "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "finit_module": 273, "memfd_create": 279,
    "kexec_file_load": 294, "bpf": 280, "userfaultfd": 282,
}  # fmt: skip
_EVERYWHERE = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431,
    "fsmount": 432, "fspick": 433, "pidfd_open": 434, "clone3": 435, "pidfd_getfd": 438, "process_madvise": 440,
    "mount_setattr": 442, "landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446,
    "memfd_secret": 447,
}  # fmt: skip

NUMBERS: dict[str, dict[str, int]] = {"x86_64": _X86_64 | _EVERYWHERE, "aarch64": _AARCH64 | _EVERYWHERE}

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def numbers() -> dict[str, int]:
    """System call numbers of this processor; none where they are not known."""
    return NUMBERS.get(platform.machine(), {})


def syscall(name: str, *arguments: Any) -> int:
    """Make a system call by its name.

    Raises:
        OSError: when the kernel refuses, or the number is not known for this processor.
    """
    if name not in numbers():
        raise OSError(f"the number of the system call {name} is not known for {platform.machine()}")
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(_libc.syscall(ctypes.c_long(numbers()[name]), *wide), name)


def prctl(option: int, *arguments: Any) -> int:
    """Change a property of this process."""
    wide = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    return _checked(_libc.prctl(option, *wide, *[ctypes.c_ulong(0)] * (4 - len(wide))), f"prctl({option})")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Mount something somewhere."""
    spelled = [text.encode() for text in (source, target, kind)]
    _checked(_libc.mount(*spelled, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def detach(target: str) -> None:
    """Unmount lazily."""
    _checked(_libc.umount2(target.encode(), 2), f"umount {target}")


def unshare(flags: int) -> None:
    """Leave namespaces for new ones."""
    _checked(_libc.unshare(flags), f"unshare({flags:#x})")


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
