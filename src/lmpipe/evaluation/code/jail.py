"""The process between the evaluation and a program that a model wrote: builds the walls, starts the program, says how it ended.

    evaluation --job--> jail ---------> init -----------> program         namespaces: init is process 1 of its own world,
        ^                |              (process 1)                       and when it ends, everything in that world ends
        +----report------+------------------------------> program         landlock: one process group, which no one can leave

Run by `sandbox.py` as `python -I -S -c ... <package's parent folder>`, in a session of its own, with an empty environment.
Standard library only. The job comes as JSON on standard input; the report goes, a JSON object a line, to the file descriptor
that the job names: `{"started": true}`, then `{"exit": 0}` or `{"signal": 9}`; `{"refused": "..."}` where a wall could not be
built.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from lmpipe.evaluation.code import landlock, namespaces, seccomp
from lmpipe.evaluation.code.kernel import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, prctl

PROGRAM = "program.py"
FLAGS = ("-s", "-P", "-S", "-B", "-X", "utf8")
"""What -I does, but that the one variable of the environment counts."""
ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""Sets are walked through in the same order in every run, so that the same program gives the same answer."""


def main() -> NoReturn:
    """Do the job on standard input."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    job = json.load(sys.stdin)
    report = int(job["report"])
    os.set_inheritable(report, False)
    try:
        walled = {"namespaces": _in_namespaces, "landlock": _behind_landlock}[job["walls"]]
        ended = walled(job, lambda: _tell(report, {"started": True}))
        _tell(report, {"exit": os.WEXITSTATUS(ended)} if os.WIFEXITED(ended) else {"signal": os.WTERMSIG(ended)})
    except Exception as error:
        _tell(report, {"refused": f"{type(error).__name__}: {error}"})
    os._exit(0)


def _tell(report: int, message: dict[str, Any]) -> None:
    os.write(report, json.dumps(message).encode() + b"\n")


def _in_namespaces(job: dict[str, Any], started: Callable[[], None]) -> int:
    as_root = os.geteuid() == 0
    owner = job["user"] if as_root else namespaces.INSIDE_ID
    standard_input = _memory_file(job["stdin"])
    namespaces.enter()
    namespaces.furnish(job["folder"], readable=job["readable"], disk_bytes=job["limits"]["disk_bytes"], owner=owner)
    _write_program(job["program"])
    init = os.fork()
    if init == 0:
        try:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            program = os.fork()
            if program == 0:
                _become(job, standard_input, owner if as_root else None, lambda: None, own_pid=None)
            os._exit(_as_exit_code(_wait_for(program)))
        finally:
            os._exit(255)
    started()
    return _from_exit_code(_wait_for(init))


def _behind_landlock(job: dict[str, Any], started: Callable[[], None]) -> int:
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    user = job["user"] if os.geteuid() == 0 else None
    standard_input = _memory_file(job["stdin"])
    os.chdir(job["folder"])
    _write_program(job["program"])
    if user is not None:
        for path in (".", PROGRAM):
            os.chown(path, user, user)
    problem, told = os.pipe()
    program = os.fork()
    if program == 0:

        def wall() -> None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            landlock.restrict(readable=job["readable"], writable=[job["folder"], "/dev/null"])

        try:
            _become(job, standard_input, user, wall, own_pid=os.getpid())
        except BaseException as error:
            os.write(told, str(error).encode())
        finally:
            os._exit(255)
    os.close(told)
    with os.fdopen(problem) as lines:
        refused = lines.read()  # ends when the program is started, because the other end is closed on exec
    if refused:
        raise OSError(refused)
    started()
    return _wait_for(program)


def _memory_file(text: str) -> int:
    handle = os.memfd_create("stdin")
    with os.fdopen(os.dup(handle), "w", encoding="utf-8") as file:
        file.write(text)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


def _write_program(program: str) -> None:
    with open(PROGRAM, "w", encoding="utf-8") as file:
        file.write(program)
    os.chmod(PROGRAM, 0o644)


def _become(
    job: dict[str, Any], standard_input: int, user: int | None, wall: Callable[[], None], *, own_pid: int | None
) -> NoReturn:
    """Turn this process into the program. The order matters: each step takes away what the one before needed."""
    os.dup2(standard_input, 0)
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    wall()
    limits = job["limits"]
    seconds, memory, disk = limits["cpu_seconds"], limits["memory_bytes"], limits["disk_bytes"]
    for kind, soft, hard in (
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_FSIZE, disk, disk),
        (resource.RLIMIT_NPROC, job["process_limit"], job["process_limit"]),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(kind, (soft, hard))
    seccomp.install(own_pid=own_pid)
    os.execve(job["python"], [job["python"], *FLAGS, PROGRAM], ENVIRONMENT)


def _wait_for(process: int) -> int:
    """The wait status of one process; orphans that come here meanwhile are reaped."""
    while True:
        ended, status = os.wait()
        if ended == process:
            return status


def _as_exit_code(status: int) -> int:
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _from_exit_code(status: int) -> int:
    """A wait status again. A program that itself exits with 128 + n counts as ended by signal n, as in a shell."""
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 255
    return code - 128 if 128 < code < 128 + signal.NSIG else code << 8
