"""Slurm as the engine: the tasks of a step as one array job, started by a script that lies beside them.

    scratch/<step>/plan.json      the function and the tasks, as plain JSON
                  /slurm.sh       #SBATCH --array=0-99: python -m lmpipe.data.engines.slurm plan.json $SLURM_ARRAY_TASK_ID 100
                  /slurm-7.log    what element 7 printed
                  /00042/         what task 42 wrote: element i does the tasks i, i + 100, i + 200, ...

Where `sbatch` is installed the script is submitted and waited for; elsewhere the run ends with the command to give, and goes on
when it is run again. The same code does a task here as in the local pool, in a folder that appears when it is done.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lmpipe.base.errors import LmpipeError, StageError, error_from_json
from lmpipe.base.files import atomic_file, read_json, write_json
from lmpipe.data.engines.guard import Guard, Rescue
from lmpipe.data.engines.performing import Task
from lmpipe.data.engines.spelling import name_of, named, read_back, spell

PLAN, SCRIPT = "plan.json", "slurm.sh"
MOST_ELEMENTS = 1000
"""Slurm's default MaxArraySize is 1001."""


class SlurmArrays:
    """Does tasks as array jobs. `options` go to `sbatch` as they are."""

    def __init__(self, options: str, document_seconds: float) -> None:
        self.options, self.document_seconds = shlex.split(options), document_seconds

    def run(
        self,
        function: Task[Any],
        tasks: Sequence[Any],
        folders: Sequence[Path],
        left: Sequence[int],
        rescue: Rescue[Any] | None,
    ) -> Iterator[int]:
        """Numbers of the tasks, when all are done; errors as in `LocalPool.run`.

        Raises:
            StageError: where there is no `sbatch`: with the command that does the tasks.
        """
        scratch = folders[0].parent
        self._write(scratch, function, tasks, rescue)
        script = self._write_script(scratch, min(len(tasks), MOST_ELEMENTS))
        if shutil.which("sbatch") is None:
            _raise_failures(folders, left)
            raise _to_be_submitted(script, len(left), self.options)
        for number in left:
            _failure_of(folders[number]).unlink(missing_ok=True)
        done = subprocess.run(["sbatch", "--wait", *self.options, script], capture_output=True, text=True, check=False)
        _raise_failures(folders, left)
        missing = [number for number in left if not folders[number].is_dir()]
        if missing:
            raise _unfinished(scratch, missing, done)
        yield from left

    def _write(self, scratch: Path, function: Task[Any], tasks: Sequence[Any], rescue: Rescue[Any] | None) -> None:
        try:
            spelled = [spell(task) for task in tasks]
        except TypeError as error:
            raise _not_spelled(scratch, error) from error
        plan = {
            "function": name_of(function),
            "rescue": spell(rescue),
            "document_seconds": self.document_seconds,
            "tasks": spelled,
        }
        with atomic_file(scratch / PLAN, "w", encoding="utf-8") as file:
            json.dump(plan, file, ensure_ascii=False)

    def _write_script(self, scratch: Path, elements: int) -> Path:
        command = [sys.executable, "-P", "-m", __name__, str((scratch / PLAN).absolute())]
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
        lines = [
            "#!/bin/bash",
            f"#SBATCH --job-name=lmpipe-{scratch.name}",
            f"#SBATCH --array=0-{elements - 1}",
            "#SBATCH --cpus-per-task=1",
            f"#SBATCH --output={scratch.absolute()}/slurm-%a.log",
            f"export PYTHONPATH={shlex.quote(path)} OMP_NUM_THREADS=1",
            f'exec {shlex.join(command)} "$SLURM_ARRAY_TASK_ID" {elements}',
        ]
        script = scratch / SCRIPT
        with atomic_file(script, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        return script.absolute()


def perform_element(plan_path: Path, element: int, elements: int) -> int:
    """Do the tasks of one element of the array that are not done yet. A task's error is left beside its folder, for the run.

    Returns:
        The exit status: 1 when a task failed.
    """
    plan = read_json(plan_path)
    function, rescue = named(plan["function"]), read_back(plan["rescue"])
    guard = Guard(plan["document_seconds"])
    status = 0
    for number in range(element, len(plan["tasks"]), elements):
        folder = plan_path.parent / f"{number:05d}"
        if folder.is_dir():
            continue
        try:
            guard.perform(function, read_back(plan["tasks"][number]), folder, lambda amount: None, rescue)
        except LmpipeError as error:
            write_json(_failure_of(folder), error.to_json())
            print(error, file=sys.stderr)
            status = 1
    guard.close()
    guard.reap()
    return status


def _failure_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.failed.json")


def _raise_failures(folders: Sequence[Path], left: Sequence[int]) -> None:
    """Raise what a task left as its error, which is forgotten then: the next run tries again."""
    for number in left:
        failure = _failure_of(folders[number])
        if failure.is_file():
            error = error_from_json(read_json(failure))
            failure.unlink()
            raise error


def _not_spelled(scratch: Path, error: TypeError) -> StageError:
    return StageError(
        f"the tasks of this step cannot lie in a file: {error}",
        where=scratch.name,
        expected="tasks without secrets (the key of pseudonyms is one) and without data of their own",
        fix="run this step without --on slurm; the same command then goes on under Slurm",
    )


def _to_be_submitted(script: Path, tasks: int, options: Sequence[str]) -> StageError:
    return StageError(
        f"{tasks} task{'s wait' if tasks != 1 else ' waits'} for Slurm, and `sbatch` is not installed here",
        where=str(script),
        expected="a machine from which jobs can be submitted",
        fix=f"there: {shlex.join(['sbatch', '--wait', *options, str(script)])}; then the same command goes on",
    )


def _unfinished(scratch: Path, missing: Sequence[int], done: subprocess.CompletedProcess[str]) -> StageError:
    said = (done.stderr or done.stdout).strip().splitlines()
    return StageError(
        f"{len(missing)} of the tasks did not finish under Slurm (first: {missing[0]}); sbatch ended with {done.returncode}",
        where="; ".join(said[-2:]) or str(scratch),
        expected="all of them done",
        fix=f"read {scratch}/slurm-*.log; the same command tries them again",
    )


if __name__ == "__main__":
    sys.exit(perform_element(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
