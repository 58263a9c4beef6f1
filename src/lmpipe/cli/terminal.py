"""How the commands speak: one console for results, one for everything else, errors in one shape."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

from lmpipe.base.errors import LmpipeError

out = Console(highlight=False, soft_wrap=True)
"""Results: standard output, so that they can be piped."""
err = Console(stderr=True, highlight=False, soft_wrap=True)
"""Progress, notes and errors: standard error."""

MARKS = {"GO": "[bold green]GO[/]", "NO-GO": "[bold red]NO-GO[/]", "INCONCLUSIVE": "[bold yellow]INCONCLUSIVE[/]"}
EXIT_CODES = {"GO": 0, "NO-GO": 3, "INCONCLUSIVE": 4}


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_error(error: LmpipeError, *, as_json: bool) -> None:
    """The error's parts on standard error; with `--json` as one JSON object on standard output as well."""
    if as_json:
        print_json(error.to_json())
    err.print("[bold red]error:[/] ", end="")
    err.print(str(error), markup=False)


def wants_json(arguments: list[str]) -> bool:
    """Whether the command line asked for JSON."""
    return "--json" in arguments


def bytes_text(count: float) -> str:
    """A size for people, in decimal units.

    >>> bytes_text(1_234_567)
    '1.2 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def seconds_text(seconds: float) -> str:
    """A duration for people.

    >>> seconds_text(3.21), seconds_text(75), seconds_text(3700)
    ('3.2 s', '1 min 15 s', '1 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
