"""What is installed here, what is missing, and what this machine can do. Imports none of the heavy parts to find out."""

from __future__ import annotations

import platform
import shutil
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from lmpipe.base.extras import EXTRAS
from lmpipe.base.runtime import usable_processors

DISTRIBUTIONS = {"prometheus_client": "prometheus-client", "lingua": "lingua-language-detector", "mlflow": "mlflow-skinny"}
"""Modules whose distribution has another name."""


def diagnose() -> dict[str, Any]:
    """Modules by extra with their versions (None: missing), and facts of the machine."""
    rows = [
        {"extra": extra, "module": module, "version": installed_version(module)}
        for extra, modules in EXTRAS.items()
        for module in modules
    ]
    return {"modules": rows, "machine": _machine()}


def installed_version(module: str) -> str | None:
    """The version of the distribution that brings `module`, or None where it cannot be imported."""
    if find_spec(module) is None:
        return None
    return metadata.version(DISTRIBUTIONS.get(module, module))


def _machine() -> dict[str, str]:
    from lmpipe.evaluation.code.sandbox import strongest_walls
    from lmpipe.training.config import resolve_precision

    compiler = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
    return {
        "lmpipe": metadata.version("lmpipe"),
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(terse=True),
        "processors": str(usable_processors()),
        "GPUs": str(len(list(Path("/proc/driver/nvidia/gpus").glob("*")))),
        "memory": f"{psutil.virtual_memory().total / 1e9:.1f} GB",
        "precision on the CPU": resolve_precision("auto", "cpu"),
        "C++ compiler": compiler or "none: training runs without compilation, somewhat slower",
        "sandbox for code": strongest_walls() or "none: programs that a model wrote cannot be evaluated here",
    }
