"""What a program in the sandbox cannot do: behind both kinds of wall, started by root and by an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import lmpipe
from lmpipe.base.errors import RecipeError
from lmpipe.evaluation.code import landlock
from lmpipe.evaluation.code.sandbox import WALLS, Limits, Outcome, run_python, strongest_walls

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is built on Linux")

AS_ROOT = os.geteuid() == 0
ORDINARY_USER = 64999
DRIVER = """
import json, os, sys
from lmpipe.evaluation.code.sandbox import Limits, run_python
asked = json.load(sys.stdin)
os.setgroups([]); os.setresgid(*[asked["user"]] * 3); os.setresuid(*[asked["user"]] * 3)
outcome = run_python(asked["program"], stdin=asked["stdin"], limits=Limits(**asked["limits"]), walls=asked["walls"])
print(outcome.model_dump_json())
"""
Run = Callable[..., Outcome]


def everyone_can_run(python: str) -> bool:
    path = Path(python).resolve()
    return path.is_file() and all(part.stat().st_mode & 0o001 for part in (path, *path.parents))


def open_python() -> str | None:
    """An interpreter that every user may start and that has our dependencies' version."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    candidates = (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}")
    return next((python for python in candidates if everyone_can_run(python)), None)


KINDS = [f"{walls}, {user}" for walls in WALLS for user in ("as it is", "an ordinary user")]
TWO_SECONDS = [pytest.param(kind, marks=pytest.mark.slow if number in (0, 3) else ()) for number, kind in enumerate(KINDS)]
"""The same, for a test that keeps a processor busy: each wall and each user once in the fast suite."""


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest) -> Run:
    walls, user = request.param.split(", ")
    if walls == "landlock" and landlock.version() == 0:
        pytest.skip("this kernel has no Landlock")
    if walls == "namespaces" and strongest_walls() != "namespaces":
        pytest.skip("this system refuses namespaces")
    python = open_python()
    if user == "as it is":
        if walls == "landlock" and AS_ROOT and python is None:
            pytest.skip("no interpreter that a user without rights may start")
        return lambda program, stdin="", **limits: run_python(
            program, stdin=stdin, limits=Limits(**limits), walls=walls, python=python if AS_ROOT else None
        )
    if not AS_ROOT:
        pytest.skip("the tests run as an ordinary user already")
    if python is None:
        pytest.skip("no interpreter that an ordinary user may start")
    return lambda program, stdin="", **limits: driven(python, walls, program, stdin, limits)


def driven(python: str, walls: str, program: str, stdin: str, limits: dict) -> Outcome:
    folders = [str(Path(lmpipe.__file__).parents[1]), *(path for path in sys.path if "site-packages" in path)]
    asked = {"program": program, "stdin": stdin, "limits": limits, "walls": walls, "user": ORDINARY_USER}
    done = subprocess.run(
        [python, "-c", DRIVER],
        input=json.dumps(asked),
        env={"PYTHONPATH": ":".join(folders), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Outcome.model_validate_json(done.stdout)


def programs_alive() -> list[int]:
    """Processes whose command line is that of a sandboxed program."""
    alive = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and b"utf8\0program.py" in (entry / "cmdline").read_bytes():
                alive.append(int(entry.name))
        except OSError:
            continue
    return alive


def all_ended() -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not programs_alive():
            return True
    return False


def test_a_program_runs(run: Run) -> None:
    outcome = run("import sys, math\nprint(math.factorial(5), sys.stdin.read())\nprint('to', file=sys.stderr)", stdin="naïve")
    assert (outcome.status, outcome.exit_code, outcome.stdout, outcome.stderr) == ("ok", 0, "120 naïve\n", "to\n")


def test_exit_code_and_exception(run: Run) -> None:
    assert run("raise SystemExit(3)").exit_code == 3
    outcome = run("1 / 0")
    assert outcome.status == "failed"
    assert "ZeroDivisionError" in outcome.stderr


def test_same_program_same_answer(run: Run) -> None:
    program = "print(list({'a', 'b', 'c', 'd', 'e', 'f', 'g'}), hash('x'))"
    assert run(program).stdout == run(program).stdout


def test_fork_bomb(run: Run) -> None:
    started = time.monotonic()
    program = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    outcome = run(program, wall_seconds=1.5, cpu_seconds=60)
    assert outcome.status == "timeout"
    assert time.monotonic() - started < 15
    assert all_ended()


def test_threads_are_counted(run: Run) -> None:
    program = """
import threading, time
threads = 0
try:
    for _ in range(500):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        threads += 1
except RuntimeError:
    pass
print(threads, flush=True)
import os; os._exit(0)
"""
    outcome = run(program, processes=8)
    assert int(outcome.stdout) < 200  # behind landlock, an ordinary user's other threads count, and theirs may end meanwhile


def test_endless_loop(run: Run) -> None:
    outcome = run("while True: pass", cpu_seconds=1)
    assert (outcome.status, outcome.signal) == ("killed", "SIGXCPU")


@pytest.mark.parametrize("run", TWO_SECONDS, indirect=True)
def test_signals_cannot_be_held_off(run: Run) -> None:
    ignoring = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    outcome = run(ignoring, cpu_seconds=1)
    assert (outcome.status, outcome.signal) == ("killed", "SIGKILL")


def test_sleeper(run: Run) -> None:
    outcome = run("print('begun', flush=True)\nimport time\ntime.sleep(1000)", wall_seconds=0.5)
    assert (outcome.status, outcome.stdout) == ("timeout", "begun\n")
    assert all_ended()


def test_memory_hog(run: Run) -> None:
    outcome = run("x = []\nwhile True: x.append(bytearray(10_000_000))", memory_bytes=200_000_000)
    assert outcome.status == "failed"
    assert "MemoryError" in outcome.stderr


def test_output_flood(run: Run) -> None:
    outcome = run("import sys\nwhile True: sys.stdout.write('x' * 10_000)", output_bytes=50_000)
    assert (outcome.status, outcome.stdout) == ("output", "x" * 50_000)
    outcome = run("import sys\nwhile True: sys.stderr.write('y' * 10_000)", output_bytes=50_000)
    assert (outcome.status, outcome.stderr) == ("output", "y" * 50_000)


def test_its_own_folder_can_be_written_within_bounds(run: Run) -> None:
    assert run("open('a', 'w').write('x' * 1000)\nprint(open('a').read())").stdout == "x" * 1000 + "\n"
    outcome = run("open('big', 'wb').write(b'x' * 3_000_000)", disk_bytes=1_000_000)
    assert outcome.status == "failed"
    assert "OSError" in outcome.stderr


@pytest.fixture
def open_folder():
    """A folder in which every user may write."""
    folder = Path(tempfile.mkdtemp(prefix="lmpipe-open-"))
    folder.chmod(0o777)
    secret = folder / "secret.txt"
    secret.write_text("hidden")
    secret.chmod(0o666)
    yield folder
    shutil.rmtree(folder)


def test_no_file_outside_can_be_written_read_or_deleted(run: Run, open_folder: Path) -> None:
    program = f"""
import os, shutil
folder = {str(open_folder)!r}
tries = [
    lambda: open(folder + "/new", "w").write("x"),
    lambda: open(folder + "/secret.txt", "a").write("x"),
    lambda: print(open(folder + "/secret.txt").read()),
    lambda: os.listdir(folder),
    lambda: os.remove(folder + "/secret.txt"),
    lambda: os.rename(folder + "/secret.txt", folder + "/moved"),
    lambda: os.truncate(folder + "/secret.txt", 0),
    lambda: os.mkdir(folder + "/sub"),
    lambda: os.symlink("/etc/passwd", folder + "/link"),
    lambda: os.link(folder + "/secret.txt", "here"),
    lambda: open("/etc/hostname", "a"),
    lambda: open("/etc/passwd").read(),
    lambda: open("/tmp/escaped", "w"),
    lambda: open("/dev/shm/escaped", "w"),
    lambda: open("/proc/1/environ", "rb").read(),
    lambda: open(os.__file__, "a"),
]
for number, attempt in enumerate(tries):
    try:
        attempt()
        print("succeeded:", number)
    except OSError:
        pass
"""
    outcome = run(program)
    assert (outcome.status, outcome.stdout) == ("ok", "")
    assert [path.name for path in open_folder.iterdir()] == ["secret.txt"]
    assert (open_folder / "secret.txt").read_text() == "hidden"
    assert not Path("/tmp/escaped").exists()
    assert not Path("/dev/shm/escaped").exists()


def test_no_socket(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        program = f"""
import socket
for family, address in ((socket.AF_INET, ("127.0.0.1", {server.getsockname()[1]})), (socket.AF_INET6, ("::1", 80)),
                        (socket.AF_UNIX, "/tmp/x"), (socket.AF_UNIX, "\\0abstract"), (socket.AF_NETLINK, (0, 0))):
    try:
        socket.socket(family, socket.SOCK_STREAM).connect(address)
        print("connected", family)
    except OSError as error:
        print(type(error).__name__)
"""
        assert run(program).stdout == "PermissionError\n" * 5
        with pytest.raises(BlockingIOError):
            server.accept()


def test_no_signal_reaches_a_process_outside(run: Run) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        program = f"""
import os, signal
def attempt(pid, sign):
    try:
        os.kill(pid, sign)
    except OSError:
        pass
for pid in ({bystander.pid}, {os.getpid()}, os.getppid()):
    attempt(pid, signal.SIGKILL)
    attempt(pid, signal.SIGSTOP)
print("alive")
"""
        outcome = run(program)
        assert (outcome.status, outcome.stdout) == ("ok", "alive\n")
        assert bystander.poll() is None
        bystander.communicate(b"\n")
        assert bystander.returncode == 0


def test_killing_everything_in_reach_ends_itself_alone(run: Run) -> None:
    for target in ("os.kill(-1, 9)", "os.kill(0, 9)", "os.killpg(os.getpgrp(), 9)"):
        outcome = run(f"import os\ntry:\n    {target}\nexcept OSError:\n    print('refused')", wall_seconds=5)
        assert outcome.status in ("ok", "killed"), target
    assert all_ended()


def test_nothing_outlives_the_program(run: Run) -> None:
    program = """
import os, time
if os.fork() == 0:
    try:
        os.setsid()
        print("left the session")
    except OSError:
        pass
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(0)
os.wait()
"""
    outcome = run(program)
    assert (outcome.status, outcome.stdout) == ("ok", "")
    assert all_ended()


def test_the_environment_is_empty(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMPIPE_TEST_SECRET", "hidden")
    outcome = run("import os, sys\nprint(sorted(set(os.environ) - {'LC_CTYPE'}), sys.flags.no_site, os.listdir('.'))")
    assert outcome.stdout == "['PYTHONHASHSEED'] 1 ['program.py']\n"


def test_no_file_descriptor_is_inherited(run: Run) -> None:
    program = """
import os
found = []
for number in range(3, 64):
    try:
        os.fstat(number)
        found.append(number)
    except OSError:
        pass
print(found)
"""
    assert run(program).stdout == "[]\n"


def test_no_new_namespace_no_tracing_no_other_limits(run: Run) -> None:
    program = """
import ctypes, os, resource
libc = ctypes.CDLL(None, use_errno=True)
print(libc.unshare(0x10000000), libc.ptrace(16, os.getppid(), 0, 0), libc.mount(b"none", b"/", b"tmpfs", 0, b""))
try:
    resource.prlimit(os.getppid(), resource.RLIMIT_NPROC, (1, 1))
    print("changed")
except PermissionError:
    pass
try:
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    print("raised")
except ValueError:
    pass
print(os.getuid() != 0)
"""
    assert run(program).stdout == "-1 -1 -1\nTrue\n"


def test_no_folder_is_left(run: Run) -> None:
    def kept() -> set[str]:
        return {path.name for path in Path(tempfile.gettempdir()).glob("lmpipe-sandbox-*")}

    before = kept()
    making = "os.makedirs('a/b/c')\nopen('a/b/c/d', 'w').close()"
    closing = "os.chmod('a/b', 0)\nos.chmod('a', 0)\nos.symlink('/', 'root')"
    run(f"import os\n{making}\n{closing}")
    assert kept() <= before


def test_walls_that_cannot_be_built_are_no_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmpipe.evaluation.code.sandbox.WALLS", ())
    strongest_walls.cache_clear()
    try:
        with pytest.raises(RecipeError, match="nothing to run model-written programs behind"):
            run_python("print(1)")
    finally:
        strongest_walls.cache_clear()


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    if strongest_walls() is None:
        pytest.skip("this system offers no walls")
    with pytest.raises(RecipeError, match="cannot be built"):
        run_python("print(1)", python=str(tmp_path / "bin/python"), walls="landlock")
