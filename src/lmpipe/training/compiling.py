"""The training loss compiled by torch, checked against itself uncompiled before anything is learned from it.

A compiler that makes wrong code has been met (`docs/LOG.md`): gcc 12 does not know some Intel processors by name, tunes for
none in particular, and gradients in bf16 came out infinite. So gcc is told a name, and what was compiled has to agree with what
was not.
"""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmpipe.base.progress import Progress
from lmpipe.training.objectives import Losses

LossFunction = Callable[..., Losses]
"""The arrays of a part -> sums over its tokens."""
LINKED_SECONDS = 10.0
"""A library that is older is not being written."""
NORM_TOLERANCE = 0.25
"""Share by which the compiled gradient's norm may differ. Roundings move it by a hundredth, dropout's other draws by more;
wrong code gave numbers that are not finite."""


def compiled_or_plain(losses: LossFunction, parameters: Sequence[Tensor], progress: Progress) -> LossFunction:
    """`losses` compiled; plain, with a note, where the compiler does not work or what it made computes something else.

    The comparison is made once, with the first part that comes, and leaves no trace: neither gradients nor random draws.
    """
    from torch._inductor.runtime.cache_dir_utils import cache_dir  # with the compiler, which takes a second to import

    remove_torn_libraries(Path(cache_dir()))
    compiled: LossFunction = torch.compile(losses, dynamic=False, options=_options(parameters[0].device.type))
    trusted: bool | None = None

    def checked(*part: Tensor) -> Losses:
        nonlocal trusted
        if trusted is None:
            trusted = _agrees(compiled, losses, parameters, part, progress)
        return compiled(*part) if trusted else losses(*part)

    return checked


def has_compiler(device: str) -> bool:
    """Whether what torch.compile needs on `device` is installed."""
    return device == "cuda" or _compiler() is not None


def architecture_by_name(help_of_target: str) -> str | None:
    """The architecture that `g++ -march=native -Q --help=target` tells of, where gcc would tune for no processor in particular.

    None where it knows the processor, and where it knows nothing but the common instruction set.
    """
    told = dict(re.findall(r"^\s*-(march|mtune)=\s+(\S+)\s*$", help_of_target, re.MULTILINE))
    if told.get("mtune") != "generic" or told.get("march", "").startswith("x86-64"):
        return None
    return told.get("march")


def _agrees(
    compiled: LossFunction, losses: LossFunction, parameters: Sequence[Tensor], part: tuple[Tensor, ...], progress: Progress
) -> bool:
    try:
        found = _compiled_norm(compiled, parameters, part, progress)
    except _compiler_errors() as error:
        reason = str(error).strip().splitlines()[0][:200]
        progress.note(f"the training step cannot be compiled here ({reason}); training runs uncompiled, somewhat slower")
        return False
    expected = _gradient_norm(losses, parameters, part)
    equal = abs(found - expected) <= NORM_TOLERANCE * expected
    if not equal and math.isfinite(expected):  # where the plain one is not finite, the step's own check says so
        progress.note(
            f"the compiled training step is wrong here: its gradient's norm is {found:.4g}, uncompiled {expected:.4g}; "
            "training runs uncompiled, somewhat slower. Another C++ compiler (CXX) may help"
        )
        return False
    return True


def _compiled_norm(compiled: LossFunction, parameters: Sequence[Tensor], part: tuple[Tensor, ...], progress: Progress) -> float:
    """As `_gradient_norm`. A process that is killed while it compiles leaves a library half-written in torch's cache, which
    neither it nor torch ever looks at again: it is removed, and compiled anew."""
    failures: tuple[type[Exception], ...] = (ImportError, OSError, *_compiler_errors())
    removed: set[Path] = set()
    while True:
        try:
            return _gradient_norm(compiled, parameters, part)
        except failures as error:
            torn = torn_library(str(error))
            if torn is None or torn in removed:
                raise
        progress.note("a compiled library was half-written when a run was killed; it is compiled anew")
        torn.unlink(missing_ok=True)
        removed.add(torn)
        torch.compiler.reset()


def remove_torn_libraries(cache: Path) -> None:
    """Remove libraries that stop before their end, as an ELF header tells it: the system dies of loading them (SIGBUS).

    Younger ones may be on the way: a linker needs well under a second for one.
    """
    for path in cache.rglob("*.so"):
        with suppress(OSError):  # another process may remove it, too
            if time.time() - path.stat().st_mtime > LINKED_SECONDS and is_torn(path):
                path.unlink()


def is_torn(path: Path) -> bool:
    """Whether an ELF file is shorter than its table of sections, which stands at its end (elf(5), 64 bits)."""
    with path.open("rb") as file:
        header = file.read(64)
    if len(header) < 64:
        return True
    sections_at, entry_bytes, entries = (*struct.unpack_from("<Q", header, 40), *struct.unpack_from("<HH", header, 58))
    return header[:4] == b"\x7fELF" and path.stat().st_size < sections_at + entry_bytes * entries


def torn_library(message: str) -> Path | None:
    """The library that the system's loader found cut off, as its message says (dlopen(3), glibc).

    >>> torn_library("ImportError: /tmp/x/3k/ab.main.so: file too short")
    PosixPath('/tmp/x/3k/ab.main.so')
    """
    found = re.search(r"(/[^\s:]+\.so): (?:file too short|invalid ELF header|cannot read file data|ELF file)", message)
    return Path(found[1]) if found else None


def _gradient_norm(losses: LossFunction, parameters: Sequence[Tensor], part: tuple[Tensor, ...]) -> float:
    with torch.random.fork_rng():
        gradients = torch.autograd.grad(losses(*part).minimised, parameters, allow_unused=True)
    return float(torch.stack([g.float().norm() for g in gradients if g is not None]).norm())


def _compiler_errors() -> tuple[type[Exception], ...]:
    """What failed compilation raises. Loading the compiler takes seconds, so it is loaded where something is compiled."""
    from torch._dynamo.exc import BackendCompilerFailed
    from torch._inductor.exc import InductorError

    return BackendCompilerFailed, InductorError


def _options(device: str) -> dict[str, str | int | bool | Callable[..., Any]]:
    """Settings of torch's compiler."""
    if device != "cpu" or platform.machine() not in ("x86_64", "AMD64"):
        return {}
    name = _native_architecture(_compiler())
    return {"cpp.march": name} if name else {}


@cache
def _native_architecture(compiler: str | None) -> str | None:
    """See `architecture_by_name`; None where the compiler is none of gcc's."""
    if compiler is None:
        return None
    command = [compiler, "-march=native", "-Q", "--help=target"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return architecture_by_name(done.stdout) if done.returncode == 0 else None


def _compiler() -> str | None:
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    return next((found for name in names if name and (found := shutil.which(name))), None)
