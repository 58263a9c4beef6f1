"""`lmpipe` commands that do not import everything again: each is forked from a process that has imported it, and no more.

    Warm (the tests) --a request, one JSON line--> this file as a program --forks--> a process that is the command
                     <--its exit status, one line--

A command of its own spends most of its time on imports: 0.6 processor seconds, 2 with torch, where it takes 0.05.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Timer
from typing import Any


class Warm:
    """The tests' side. One command at a time."""

    def __init__(self, environment: dict[str, str], script: Path) -> None:
        self._script = script
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        atexit.register(self.close)

    def lmpipe(
        self, arguments: Sequence[str], cwd: Path, text: str = "", timeout: float = 240
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` of the script with these arguments, `text` on its standard input.

        Raises:
            subprocess.TimeoutExpired: and there is no parent of commands any more.
        """
        assert self._process.stdin
        assert self._process.stdout
        command = [str(self._script), *arguments]
        with tempfile.TemporaryDirectory() as folder:
            files = [str(Path(folder, name)) for name in ("in", "out", "err")]
            Path(files[0]).write_text(text, encoding="utf-8")
            self._process.stdin.write(json.dumps({"command": command, "cwd": str(cwd), "files": files}) + "\n")
            self._process.stdin.flush()
            timer = Timer(timeout, self._process.kill)
            timer.start()
            status = self._process.stdout.readline()
            timer.cancel()
            if not status:
                raise subprocess.TimeoutExpired(command, timeout)
            out, err = (Path(file).read_text(encoding="utf-8") for file in files[1:])
        return subprocess.CompletedProcess(command, int(status), out, err)

    def close(self) -> None:
        """End the parent of the commands."""
        with self._process:  # closes its pipes: the end of its standard input ends it
            pass


def serve() -> None:
    """The other side: fork for every request."""
    import pyarrow.parquet
    import tokenizers
    import torch

    import lmpipe.cli.live
    import lmpipe.cli.main
    import lmpipe.recipes.proving
    import lmpipe.recipes.reporting
    import lmpipe.recipes.running
    import lmpipe.serving.bundle

    assert torch
    assert tokenizers
    assert pyarrow.parquet
    for line in sys.stdin:
        worker = os.fork()
        if worker == 0:
            be(**json.loads(line), main=lmpipe.cli.main.main)
        _, status = os.waitpid(worker, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def be(command: list[str], cwd: str, files: list[str], main: Any) -> None:
    """Become the command, and end as it ends."""
    os.chdir(cwd)
    for number, file in enumerate(files):
        os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY if number else os.O_RDONLY), number)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.argv = command
    status: Any = 0
    try:
        main()
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    serve()
