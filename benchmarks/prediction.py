"""What `plan` says before, beside what a run then takes: parameters, memory and time of training, in fresh stores.

    python benchmarks/prediction.py RECIPE [--set KEY=VALUE] --runs 3

Every run starts with the ten-second calibration, in a store of its own, as a new user's does. Bar: parameters exactly,
memory and time within 30%. Figures are taken from the run's own record, as the report shows them.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from datetime import UTC, datetime

import lmpipe
from lmpipe.base.runtime import Runtime
from lmpipe.recipes.validation import parse_overrides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}")
    print("| run | parameters predicted / fact | seconds predicted / fact | memory predicted / fact, MiB | load before |")
    print("|---|---|---|---|---|")
    for number in range(arguments.runs):
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as store:
            run = lmpipe.run(arguments.recipe, set=parse_overrides(arguments.set), runtime=Runtime(store=store))
            predicted = run.entry.extra["predictions"]
            (name, costs), *_ = predicted["stages"].items()
            record = run.records[name]
            totals = run.read(name, "training.json")
        seconds, memory = record.seconds, record.peak_memory_bytes / 2**20
        expected = costs["peak_memory_bytes"] / 2**20
        print(
            f"| {number + 1} | {predicted['parameters']:,} / {totals['parameters']:,} "
            f"| {costs['seconds']:.0f} / {seconds:.0f} ({seconds / costs['seconds'] - 1:+.0%}) "
            f"| {expected:.0f} / {memory:.0f} ({memory / expected - 1:+.0%}) "
            f"| {load:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
