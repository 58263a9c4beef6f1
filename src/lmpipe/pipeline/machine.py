"""What a stage ran on and with: machine, memory limit, repository, code. Recorded and shown; never decides anything."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

from lmpipe.base.runtime import usable_processors
from lmpipe.pipeline.record import Code, Git, Machine

UNWATCHED = frozenset({"lmpipe.pipeline", "lmpipe.cli", "lmpipe.base"})
"""Rooms in which an edit cannot change what a stage means: they only carry and show."""


@cache
def this_machine() -> Machine:
    """Processor, usable cores and memory, operating system, host name."""
    return Machine(
        processor=_processor(),
        cores=usable_processors(),
        memory_bytes=memory_limit_bytes(),
        system=platform.platform(),
        host=platform.node(),
    )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_limit_bytes() -> int:
    """Memory that this process and its children may use: the machine's, or a control group's limit where that is lower."""
    import psutil

    limits = [int(psutil.virtual_memory().total)]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):  # versions 2 and 1
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        limits += [int(text)] if text.isdecimal() else []
    return min(limits)


def git_state() -> Git | None:
    """Commit and dirty flag of the repository around the working directory; None outside of one or without git."""
    if not any((parent / ".git").exists() for parent in (Path.cwd(), *Path.cwd().parents)):
        return None
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain", "--untracked-files=no")
    return Git(commit=commit, dirty=bool(status)) if commit else None


def _git(*arguments: str) -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # never take the index lock of somebody's work tree
    command = ["git", "--no-pager", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def lmpipe_version() -> str:
    """The installed version."""
    try:
        return metadata.version("lmpipe")
    except metadata.PackageNotFoundError:
        return "unknown"


def loaded_code(function: str) -> Code:
    """Digests of the source files of every loaded module of the function's own package.

    Args:
        function: `module:function`. Called in the process that ran it, afterwards: what it imported on the way is loaded then.
    """
    package = function.partition(":")[0].partition(".")[0]
    names = [name for name in sys.modules if name == package or name.startswith(f"{package}.")]
    watched = [name for name in names if not _is_unwatched(name)]
    files = {name: getattr(sys.modules[name], "__file__", None) for name in watched}
    digests = {name: _digest(file) for name, file in sorted(files.items()) if file and file.endswith(".py")}
    return Code(function=function, modules={name: digest for name, digest in digests.items() if digest})


def _is_unwatched(module: str) -> bool:
    return ".".join(module.split(".")[:2]) in UNWATCHED


def changed_modules(code: Code, seen: dict[str, str]) -> list[str]:
    """Modules whose source is not what it was when the stage ran. Imports none of them; `seen` keeps digests between calls."""
    for name in code.modules.keys() - seen.keys():
        seen[name] = _digest_of_module(name)
    return [name for name, digest in code.modules.items() if seen[name] != digest]


def _digest_of_module(name: str) -> str:
    root, *parts = name.split(".")
    try:
        spec = importlib.util.find_spec(root)
    except (ImportError, ValueError):
        return ""
    if spec is None or spec.origin is None:
        return ""
    if not parts:
        return _digest(Path(spec.origin))
    base = Path(spec.origin).parent.joinpath(*parts)
    return _digest(base.with_name(f"{base.name}.py")) or _digest(base / "__init__.py")


def _digest(path: str | os.PathLike[str]) -> str:
    try:
        stamp = os.stat(path)
        return _digest_of_file(os.fspath(path), stamp.st_size, stamp.st_mtime_ns)
    except OSError:
        return ""


@cache
def _digest_of_file(path: str, size: int, stamp: int) -> str:
    """A process that runs many stages, or looks at many records, reads each source file once."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def loaded_libraries() -> dict[str, str]:
    """Versions of the packages that this process has imported and that name theirs, by import name."""
    roots = {name.partition(".")[0] for name in sys.modules}
    found = {}
    for root in sorted(roots - sys.stdlib_module_names - {"lmpipe"}):
        # From the module's own dictionary: `getattr` may run code of the module, which may warn or import.
        version = vars(sys.modules[root]).get("__version__") if root in sys.modules and not root.startswith("_") else None
        if isinstance(version, str):
            found[root] = version
    return found


def redacted(text: str) -> str:
    """`text` without passwords in URLs.

    >>> redacted("s3://key:secret@host/bucket")
    's3://***@host/bucket'
    """
    return re.sub(r"(?<=://)[^/@\s]+@", "***@", text)
