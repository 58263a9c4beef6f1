"""One of several processes that train together: `python -m lmpipe.training.rank FOLDER`, started as torchrun does.

    FOLDER/ job.json        what to train (`TrainingJob`)
            stop            there once the user asked to stop: the first process looks, and tells the others
            progress.json   the newest figures         notes.jsonl    what a user should read
            process-R.log   what process R printed     error-R.json   why it cannot go on, where that is understood
            facts.json      what came of it, written last

A shared folder is all that these processes and whoever started them have in common, so they may be on several machines.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

JOB, STOP, FIGURES, NOTES, FACTS = "job.json", "stop", "progress.json", "notes.jsonl", "facts.json"
SECONDS_BETWEEN_FIGURES = 0.5
SECONDS_BETWEEN_LOOKS = 0.5


def log_of(folder: Path, rank: int) -> Path:
    """What a process printed."""
    return folder / f"process-{rank}.log"


def main(folder: Path) -> int:
    """Train in this process, together with the others."""
    _print_into(log_of(folder, int(os.environ["RANK"])))
    _end_with_parent()
    if any(folder.glob("error-*.json")):
        return 1  # started again after an error that is understood: it would come again

    import torch

    from lmpipe.base.errors import LmpipeError
    from lmpipe.base.files import write_json
    from lmpipe.base.progress import Silent
    from lmpipe.training.job import TrainingJob
    from lmpipe.training.memory import peak_memory_bytes
    from lmpipe.training.ranks import joined

    again, at_most = (int(os.environ.get(f"TORCHELASTIC_{name}", 0)) for name in ("RESTART_COUNT", "MAX_RESTARTS"))
    if again and os.environ["RANK"] == "0":
        Posted(folder).note(f"a process died; all were started again ({again} of {at_most} times)")
    job = TrainingJob.model_validate_json((folder / JOB).read_bytes())
    with joined(job.device.kind) as ranks:
        try:
            facts = job.run(
                progress=Posted(folder) if ranks.is_first else Silent(),
                stopping=(folder / STOP).exists if ranks.is_first else lambda: False,
                ranks=ranks,
            )
        except LmpipeError as error:
            write_json(folder / f"error-{ranks.rank}.json", error.to_json())
            os._exit(1)  # at once: the others may be waiting for this process, and leaving the group would wait for them
        peaks = [int(peak) for peak in ranks.gathered(torch.tensor(peak_memory_bytes()))]
    if facts:
        write_json(folder / FACTS, {**facts, "processes": ranks.count, "peak_memory_bytes_by_process": peaks})
    return 0


class Posted:
    """Progress as files, for whoever started the processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._posted_at = -SECONDS_BETWEEN_FIGURES

    def update(self, done: float, total: float | None, unit: str, **values: float | str) -> None:
        """Replace the newest figures, unless they are new enough."""
        if time.monotonic() - self._posted_at < SECONDS_BETWEEN_FIGURES:
            return
        self._posted_at = time.monotonic()
        new = self.folder / f".{FIGURES}.tmp"
        new.write_text(json.dumps({"done": done, "total": total, "unit": unit, "values": values}), encoding="utf-8")
        new.replace(self.folder / FIGURES)

    def note(self, text: str) -> None:
        """Append."""
        with (self.folder / NOTES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(text) + "\n")


def _print_into(path: Path) -> None:
    """Send whatever anything in this process prints there."""
    with path.open("a", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


def _end_with_parent() -> None:
    """A process whose parent is gone has nobody to work for, and would hold memory for ever."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
