"""What the scripts of this folder measure alike: contenders in turn in every round, by the clock and by processor time.

A machine that is shared makes the clock say little of one run; so every round asks all contenders, the order turns around
each time, and what is told is the median with the lowest and the highest, and ratios within rounds.
"""

from __future__ import annotations

import datetime
import gzip
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Taken:
    """Seconds of one contender, a number for each round."""

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    """Of all threads of this process."""


def in_turn(contenders: Mapping[str, Callable[[], Callable[[], object]]], rounds: int) -> dict[str, Taken]:
    """Each contender prepares without being timed and gives the work that is."""
    taken = {name: Taken() for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            work = contenders[name]()
            clock, processor = time.perf_counter(), time.process_time()
            work()
            taken[name].processor.append(time.process_time() - processor)
            taken[name].clock.append(time.perf_counter() - clock)
    return taken


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median (lowest to highest)."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Of each round."""
    return [a / b for a, b in zip(over, under, strict=True)]


def machine(*packages: str) -> str:
    """Date, processor, versions and what else was running, in one line each."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    matrix = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    return "\n".join(
        [
            datetime.datetime.now(datetime.UTC).date().isoformat(),
            f"{', '.join(sorted(names)) or platform.processor()}, {os.cpu_count()} processors, {' '.join(matrix)}",
            ", ".join([f"Python {platform.python_version()}", *versions]),
            f"load when it began: {os.getloadavg()[0]:.1f}",
        ]
    )


def nanogpt_module(file: str) -> Any:
    """nanoGPT's `model.py` as a module; it is brought for the measurement and is no part of the project."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = module
    spec.loader.exec_module(module)
    return module


PAGE_CHARACTERS = 4000


def pages(path: Path, megabytes: float | None = None) -> list[str]:
    """The text of a file (plain, JSON lines with `text`, either gzipped) in pages of about 4,000 characters, cut at lines."""
    content = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode("utf-8")
    texts = (json.loads(line)["text"] for line in content.split("\n") if line) if ".jsonl" in path.name else [content]
    found: list[str] = []
    size = 0
    for page in (page for text in texts for page in _pages_of(text)):
        size += len(page.encode("utf-8"))
        if megabytes and size > megabytes * 1e6:
            break
        found.append(page)
    return found


def _pages_of(text: str) -> Iterator[str]:
    page: list[str] = []
    for line in text.splitlines(keepends=True):
        page.append(line)
        if sum(map(len, page)) >= PAGE_CHARACTERS:
            yield "".join(page)
            page = []
    if page:
        yield "".join(page)
