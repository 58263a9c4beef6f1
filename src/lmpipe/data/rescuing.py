"""A part whose worker was lost, done without the documents to blame: found by halving, booked as failed, never silently gone.

    part: 4,096 rows, lost --> rows 0-2047 done | 2048-4095 lost --> ... --> row 3071 alone is lost, too: it is to blame
    the part without row 3071 --> the task's folder; its ledger gets failed{...}, failures.jsonl the id

Steps that write one row per document (scores) get their rows back, empty, so that they stay aligned with the documents; the
selection drops documents without scores. A document that kills one worker kills each, so workers and engines show in no byte.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.data.documents import TableWriter, opened, rows_in, tables_of
from lmpipe.data.engines.guard import Attempt, died
from lmpipe.data.engines.performing import publish, temporary_of
from lmpipe.data.engines.worker import Lost

FAILURES = "failures.jsonl"
LEDGER = "ledger.json"
REASONS = {"died": "killed its worker", "hung": "kept its worker busy beyond the time limit"}
MOST_FRACTION = 0.001
MOST_AT_LEAST = 10
"""More documents to blame in one part than the larger of the two stop the run: then it is not the documents."""


@dataclass(frozen=True)
class RescueRows:
    """The rescue of a task that is one part of documents."""

    aligned: bool = False
    """Whether the step writes one row per document."""

    def covers(self, task: Any) -> bool:
        """Every part of documents."""
        return True

    def __call__(self, task: Any, folder: Path, lost: Lost, attempt: Attempt) -> None:
        """Do the part without the documents to blame; errors as in `Rescue`.

        Raises:
            StageError: when no single document is to blame.
            SourceError: when too many are.
        """
        work = folder.with_name(f".{folder.name}.rescue")
        shutil.rmtree(work, ignore_errors=True)
        search = _Search(task, work, attempt)
        search.halve(0, search.rows, lost)
        if not search.blamed:
            raise died(folder.parent.name, lost)
        rest = search.without_blamed()
        done = work / "done"
        again = attempt(rest, done)
        if again:
            raise died(folder.parent.name, again)
        self._book(task, search.blamed, done, folder.parent.name)
        shutil.rmtree(temporary_of(folder), ignore_errors=True)
        publish(done, folder)
        shutil.rmtree(work, ignore_errors=True)

    def _book(self, task: Any, blamed: dict[int, str], done: Path, step: str) -> None:
        ids = np.asarray(_ids(task.part), dtype=object)
        ledger = Ledger.from_json(read_json(done / LEDGER))
        lines = []
        for row, how in sorted(blamed.items()):
            ledger.fail(REASONS[how])
            lines.append(json.dumps({"id": ids[row], "step": step, "error": REASONS[how]}) + "\n")
        write_json(done / LEDGER, ledger.to_json())
        (done / FAILURES).write_text("".join(lines), encoding="utf-8")
        if self.aligned:
            for part in sorted(done.glob("part-*.parquet")):
                _put_back_empty_rows(part, task.part, blamed)


class _Search:
    """Finds the rows of one part without which it can be done."""

    def __init__(self, task: Any, work: Path, attempt: Attempt) -> None:
        self.task, self.work, self.attempt = task, work, attempt
        self.rows = rows_in(task.part)
        self.blamed: dict[int, str] = {}
        self.attempts = 0

    def halve(self, start: int, stop: int, lost: Lost) -> None:
        """Rows `start` to `stop` were lost: find out which of them are to blame. What was done for sure is not looked at."""
        if stop - start == 1:
            self._blame(start, lost)
            return
        first = min(start + int(lost.done), stop - 1)
        middle = (first + stop) // 2 if stop - first > 1 else first
        for low, high in ((first, middle), (middle, stop)):
            if low < high and (again := self._try(low, high)):
                self.halve(low, high, again)

    def _try(self, start: int, stop: int) -> Lost | None:
        wanted = np.zeros(self.rows, bool)
        wanted[start:stop] = True
        self.attempts += 1
        return self.attempt(self._only(wanted), self.work / f"attempt-{self.attempts}")

    def _blame(self, row: int, lost: Lost) -> None:
        self.blamed[row] = lost.how
        most = max(MOST_AT_LEAST, int(MOST_FRACTION * self.rows))
        if len(self.blamed) > most:
            raise SourceError(
                f"more than {most} documents of one part end or hang their worker",
                where=f"{self.task.part.name}, first: {_ids(self.task.part)[min(self.blamed)]}",
                expected="at most a few in a corpus",
                fix="give workers more memory (fewer of them), or more time (--document-seconds)",
            )

    def without_blamed(self) -> Any:
        """The task, less the rows to blame."""
        wanted = np.ones(self.rows, bool)
        wanted[list(self.blamed)] = False
        return self._only(wanted)

    def _only(self, wanted: Any) -> Any:
        """The task with some of its rows, those of the sidecars too."""
        part = self._copy(self.task.part, wanted, "part")
        beside = tuple(path and self._copy(path, wanted, f"beside-{n}") for n, path in enumerate(self.task.beside))
        return dataclasses.replace(self.task, part=part, beside=beside)

    def _copy(self, source: Path, wanted: Any, name: str) -> Path:
        target = self.work / name / source.name
        with opened(source) as file:
            schema = file.schema_arrow
        position = 0
        with TableWriter(target, schema) as writer:
            for table in tables_of(source):
                writer.write(table.filter(pa.array(wanted[position : position + table.num_rows])))
                position += table.num_rows
        return target


def _ids(part: Path) -> list[str]:
    return [identity for table in tables_of(part, ["id"]) for identity in table.column("id").to_pylist()]


def _put_back_empty_rows(part: Path, documents: Path, blamed: dict[int, str]) -> None:
    """Give every document its row again: null in every column but the id, where it was left out."""
    fixed = part.with_suffix(".fixed")
    rows = tables_of(part)
    with opened(part) as file:
        schema = file.schema_arrow
    position = 0
    with TableWriter(fixed, schema) as writer:
        for table in tables_of(documents, ["id"]):
            missing = [row in blamed for row in range(position, position + table.num_rows)]
            there = schema.empty_table() if all(missing) else next(rows)
            writer.write(_with_gaps(there, missing, table.column("id")))
            position += table.num_rows
    fixed.replace(part)


def _with_gaps(table: Any, missing: Sequence[bool], ids: Any) -> Any:
    places = np.cumsum(~np.asarray(missing)) - 1
    taken = table.take(pa.array(places, pa.int64(), mask=np.asarray(missing)))
    return taken.set_column(0, table.schema.field(0), ids.combine_chunks())
