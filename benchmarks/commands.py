"""How long the commands take that must not make anybody wait, on a finished run.

    python benchmarks/commands.py RECIPE --store STORE      (the recipe must have been run into that store)

Bars: `--help` under 0.3 s, `plan` under 1 s, a second `run` (all hits) under 1 s. Alternates with `python -c pass`: its time
says how fast the machine is at that moment; prints medians, the spread, and a JSON line.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

LMPIPE = Path(sys.executable).with_name("lmpipe")


def seconds(command: list[str], codes: tuple[int, ...] = (0,)) -> float:
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False)
    elapsed = time.perf_counter() - started
    if done.returncode not in codes:
        sys.exit(f"{command} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--store", default="store")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    sets = [part for value in arguments.set for part in ("--set", value)]
    recipe = [arguments.recipe, "--store", arguments.store, *sets]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "lmpipe --help": [str(LMPIPE), "--help"],
        "lmpipe plan": [str(LMPIPE), "plan", *recipe],
        "lmpipe run (all hits)": [str(LMPIPE), "run", *recipe],
    }
    measured: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(arguments.rounds + 1):
        for name, command in commands.items():
            elapsed = seconds(command, (0, 3, 4))
            if number:  # the first round warms the caches
                measured[name].append(elapsed)
    print(f"{platform.platform()}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}\n")
    print("| command | median s | min to max |\n|---|---|---|")
    for name, values in measured.items():
        print(f"| `{name}` | {statistics.median(values):.3f} | {min(values):.3f} to {max(values):.3f} |")
    print(json.dumps({name: sorted(values) for name, values in measured.items()}))


if __name__ == "__main__":
    main()
