"""Which process did something, told so exactly that a later process can say whether it still lives.

A process number alone is not enough: numbers are used again, the number of another machine says nothing here, and two
containers may share a host name. An owner is (host, boot, process namespace, number, start time); only where the first three
are this process's own can its death be known.

Does not know: leases, stores.
"""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class Owner(BaseModel):
    """One process."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    host: str
    boot: str
    """Changes when the machine restarts."""
    namespace: str
    """Which process numbers are meant: containers on one machine have their own."""
    pid: int
    started: float
    """When the process started, in the clock of this system; only compared for equality."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def is_dead(self) -> bool | None:
        """True or False where this process can know; None for a process elsewhere."""
        if (self.host, self.boot, self.namespace) != _here():
            return None
        started = start_time(self.pid)
        if started is None and _is_hidden(self.pid):
            return None
        return started != self.started


def this_process() -> Owner:
    """The running process."""
    return owner_of(os.getpid())


def owner_of(pid: int) -> Owner:
    """A process of this machine. One that has ended already gets start time 0 and counts as dead."""
    host, boot, namespace = _here()
    return Owner(host=host, boot=boot, namespace=namespace, pid=pid, started=start_time(pid) or 0.0)


@cache
def _here() -> tuple[str, str, str]:
    return platform.node(), _read("/proc/sys/kernel/random/boot_id"), _link("/proc/self/ns/pid")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def start_time(pid: int) -> float | None:
    """When a process started; None when there is no such process or it is a zombie (dead, not yet collected)."""
    stat = _read(f"/proc/{pid}/stat")
    if stat:
        fields = stat.rpartition(")")[2].split()  # the name may hold spaces and brackets; fields after it are fixed: proc(5)
        return None if fields[0] in "ZX" else float(fields[19])
    if Path("/proc/self/stat").exists():
        return None
    return _start_time_elsewhere(pid)


def _is_hidden(pid: int) -> bool:
    """Whether there is such a process of another user whose entry in /proc this user may not see (mount option hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return False


def _start_time_elsewhere(pid: int) -> float | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None


def same_process(value: Any) -> Owner | None:
    """An owner from plain data; None when the data is not one."""
    try:
        return Owner.model_validate(value)
    except ValueError:
        return None
