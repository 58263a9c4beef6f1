"""Runs a program that a model wrote, so that it can harm nothing and must come to an end.

What holds behind either kind of wall, on Linux, without root and as root (`docs/evaluation.md` has the table and the gaps):

- no network, no file outside its own folder can be written, the environment is empty, no signal reaches a process outside; -
processor seconds, memory of each process, file size, number of processes and output are bounded by the kernel, wall-clock
time and
  output by this side, which then ends the whole process group at once;
- as root, the program runs as a user that nobody is.

`namespaces` also hides all files but the interpreter's and the system's libraries, and all other processes. `landlock` is for
systems that refuse namespaces. Where neither is to be had, nothing is run.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache, partial
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import Field

from lmpipe.base.config import Config
from lmpipe.base.errors import RecipeError
from lmpipe.base.randomness import derive_seed

Walls = Literal["namespaces", "landlock"]
WALLS: tuple[Walls, ...] = ("namespaces", "landlock")

SYSTEM_FOLDERS = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache", "/nix/store")
"""What an interpreter and its libraries may need beside its own installation."""
START_SECONDS = 30.0
"""A machine that needs longer to build the walls is not working."""
NOBODYS_USERS = range(61184, 65520)
"""User ids that systemd sets aside for services that come and go: no file and no login belongs to them."""
PACKAGE_PARENT = str(Path(__file__).parents[3])
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from lmpipe.evaluation.code.jail import main; main()"


class Limits(Config):
    """What a program may use."""

    wall_seconds: float = Field(default=10.0, gt=0, le=3600)
    """From its start to its end, children included."""
    cpu_seconds: int = Field(default=5, ge=1, le=3600)
    """Processor time of each process."""
    memory_bytes: int = Field(default=512 << 20, ge=64 << 20)
    """Address space of each process; an interpreter needs about 30 MB."""
    processes: int = Field(default=4, ge=1, le=256)
    """Processes and threads at one time. All together may use this many times `memory_bytes`."""
    disk_bytes: int = Field(default=16 << 20, ge=1 << 16)
    """Of a file; behind `namespaces` of all files together."""
    output_bytes: int = Field(default=1 << 20, ge=1 << 10)
    """Of standard output, and of standard error."""


class Outcome(Config):
    """How a program ended."""

    status: Literal["ok", "failed", "killed", "timeout", "output"]
    """`ok`: exit code 0; `failed`: another one; `killed`: by a signal (the kernel's, at the CPU limit); `timeout`: wall-clock
    time was over; `output`: it wrote too much."""
    exit_code: int | None = None
    signal: str = ""
    stdout: str
    stderr: str
    walls: Walls


def run_python(
    program: str, *, stdin: str = "", limits: Limits | None = None, walls: Walls | None = None, python: str | None = None
) -> Outcome:
    """Run a program with the standard library alone.

    >>> run_python("print(6 * 7)").stdout  # doctest: +SKIP
    '42\\n'

    Args:
        program: its source.
        stdin: what it can read.
        limits: what it may use.
        walls: behind which; by default the strongest that this system offers.
        python: the interpreter; by default the one that runs this.

    Raises:
        RecipeError: when this system does not offer these walls, or none.
    """
    chosen = walls or strongest_walls()
    if chosen is None:
        raise RecipeError(
            "this system offers nothing to run model-written programs behind",
            expected="Linux on x86-64 or ARM64 with namespaces, or with Landlock (5.13) and seccomp",
            fix="evaluate on Linux; in a container, allow unprivileged user namespaces",
        )
    outcome = _attempt(program, stdin, limits or Limits(), chosen, python)
    if isinstance(outcome, str):
        raise RecipeError(f"the walls '{chosen}' cannot be built here: {outcome}", expected=f"one of {list(WALLS)}")
    return outcome


@cache
def strongest_walls() -> Walls | None:
    """The strongest kind of wall that this system offers, found out by running one line behind it."""
    for walls in WALLS if sys.platform == "linux" else ():
        outcome = _attempt("print(6 * 7)", "", Limits(), walls, None)
        if isinstance(outcome, Outcome) and outcome.stdout == "42\n":
            return walls
    return None


def _attempt(program: str, stdin: str, limits: Limits, walls: Walls, python: str | None) -> Outcome | str:
    """The outcome, or why the walls could not be built."""
    folder = Path(tempfile.mkdtemp(prefix="lmpipe-sandbox-"))
    report, told = os.pipe()
    try:
        job = _job(program, stdin, limits, walls, python, folder, told)
        command = [sys.executable, "-I", "-S", "-c", _BOOT, PACKAGE_PARENT]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
            pass_fds=(told,),
            start_new_session=True,
        )
        os.close(told)
        with os.fdopen(report, "rb") as lines:
            return _watch(process, job, lines, limits, walls)
    finally:
        _remove(folder)


def _job(
    program: str, stdin: str, limits: Limits, walls: Walls, python: str | None, folder: Path, report: int
) -> dict[str, Any]:
    interpreter = os.path.realpath(python or sys.executable)
    own = (sys.base_prefix, sys.base_exec_prefix) if python is None else (str(Path(interpreter).parents[1]),)
    user = NOBODYS_USERS[derive_seed(0, str(folder)) % len(NOBODYS_USERS)]
    return {
        "program": program,
        "stdin": stdin,
        "limits": limits.model_dump(mode="json"),
        "walls": walls,
        "python": interpreter,
        "readable": [*SYSTEM_FOLDERS, *own, *(["/dev/urandom", "/dev/zero"] if walls == "landlock" else [])],
        "folder": str(folder),
        "report": report,
        "user": user,
        "process_limit": limits.processes + _processes_already(walls),
    }


def _processes_already(walls: Walls) -> int:
    """Processes that the kernel will count beside the program's own.

    A user made up for this run has none. In a user namespace, since Linux 5.14, only the jail and its init count. Elsewhere all
    threads of the user do, so the limit is as exact as their number is constant.
    """
    if os.geteuid() == 0:
        return 0
    kernel = tuple(int(part) for part in os.uname().release.split(".")[:2])
    if walls == "namespaces" and kernel >= (5, 14):
        return 2
    own, threads = os.getuid(), 0
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and entry.stat().st_uid == own:
                threads += len(list((entry / "task").iterdir()))
        except OSError:  # it ended meanwhile
            continue
    return threads


class _Kept:
    """The beginning of a stream."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self.stream = stream
        self.most = most
        self.data = b""
        self.overflowed = False
        os.set_blocking(stream.fileno(), False)

    def take(self) -> bool:
        """Read what is there; False at the end of the stream."""
        try:
            chunk = os.read(self.stream.fileno(), 1 << 16)
        except BlockingIOError:
            return True
        self.overflowed |= len(self.data) + len(chunk) > self.most
        self.data = (self.data + chunk)[: self.most]
        return bool(chunk)

    @property
    def text(self) -> str:
        """What was kept; bytes that are no UTF-8 are marked."""
        return self.data.decode(errors="replace")


def _watch(
    process: subprocess.Popen[bytes], job: dict[str, Any], lines: IO[bytes], limits: Limits, walls: Walls
) -> Outcome | str:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    outputs = [_Kept(process.stdout, limits.output_bytes), _Kept(process.stderr, limits.output_bytes)]
    reported = _Kept(lines, 1 << 16)
    timed_out = False
    try:
        try:
            process.stdin.write(json.dumps(job).encode())
            process.stdin.close()
        except BrokenPipeError:  # the jail died at once; its standard error says why
            pass
        timed_out = _read_until_end(reported, outputs, limits)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # whatever is left; no one can have left the group
        process.wait()
    for output in outputs:
        while output.take() and not output.overflowed:
            pass
        output.stream.close()
    return _outcome(reported, outputs, timed_out, walls)


def _read_until_end(reported: _Kept, outputs: list[_Kept], limits: Limits) -> bool:
    """Read everything until the jail has reported the end; whether time ran out first."""
    with selectors.DefaultSelector() as selector:
        for kept in (reported, *outputs):
            selector.register(kept.stream, selectors.EVENT_READ, kept)
        deadline = time.monotonic() + START_SECONDS
        started = False
        while True:
            for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                kept = key.data
                if not kept.take():
                    selector.unregister(kept.stream)
                    if kept is reported:
                        return False
            if not started and b"started" in reported.data:
                started, deadline = True, time.monotonic() + limits.wall_seconds
            if any(output.overflowed for output in outputs) or _final(reported):
                return False
            if time.monotonic() >= deadline:
                return True


def _final(reported: _Kept) -> dict[str, Any] | None:
    """The jail's last word, if it has been said."""
    for line in reported.data.split(b"\n")[:-1]:
        message: dict[str, Any] = json.loads(line)
        if "started" not in message:
            return message
    return None


def _outcome(reported: _Kept, outputs: list[_Kept], timed_out: bool, walls: Walls) -> Outcome | str:
    final = _final(reported)
    if b"started" not in reported.data:
        return str((final or {}).get("refused")) if final else outputs[1].text or "the jail did not start"
    ended = partial(Outcome, stdout=outputs[0].text, stderr=outputs[1].text, walls=walls)
    if any(output.overflowed for output in outputs):
        return ended(status="output")
    if timed_out:
        return ended(status="timeout")
    if final is None:  # it ended its whole process group, the jail included
        return ended(status="killed", signal="SIGKILL")
    if "signal" in final:
        return ended(status="killed", signal=signal.Signals(final["signal"]).name)
    code = int(final["exit"])
    return ended(status="ok" if code == 0 else "failed", exit_code=code)


def _remove(folder: Path) -> None:
    """Delete a folder that the program may have filled with folders it closed to itself."""
    for parent, folders, _ in os.walk(folder):
        for name in folders:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
