"""A record that ends or hangs its reader: which one it was is known, it is left out and booked as failed, its bytes are kept.

    reader: at record 4711 | parse | at none      written where the end of a process does not take it away
    worker lost at 4711 --> again --> lost at 4711 again --> the task without 4711: failed{...}, quarantine.parquet

Pages, PDF and Word files go through foreign parsers, some of them native code; what is said here is for these. A worker that is
lost while none of them works stops the step: nobody knows what the rest of its file held.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.base.errors import SourceError
from lmpipe.data.engines.guard import Attempt, died
from lmpipe.data.engines.performing import publish, temporary_of
from lmpipe.data.engines.worker import Lost
from lmpipe.data.readers.config import DocxSource, HtmlSource, HubSource, MarkdownSource, PdfSource, WarcSource
from lmpipe.data.readers.record import Record
from lmpipe.data.rescuing import MOST_AT_LEAST, REASONS

AT = "at"
"""The file in a task's folder that says which record is being parsed."""
PARSED = (DocxSource, HtmlSource, MarkdownSource, PdfSource, WarcSource)
SHOWN_NAMES = 5
Place = tuple[int, str]
"""Which of the task's files, and the record's name in it."""


class Watch:
    """What the reader of one task says about where it is, and which records it must not parse."""

    def __init__(self, folder: Path, blamed: Mapping[Place, str]) -> None:
        self.blamed = blamed
        """Why a record cannot be parsed."""
        self.file = 0
        """Number of the file that is being read."""
        self._path = folder / AT
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def parsed(self, number: str, parse: Callable[[], Record], raw: bytes, offset: int | None = None) -> Record:
        """What `parse` makes of a record, or, where that ended or hung a worker before, a failed one with its bytes.

        Args:
            number: the record's name in its file.
            parse: runs a parser on it.
            raw: its bytes.
            offset: where it begins in the file.
        """
        how = self.blamed.get((self.file, number))
        if how is not None:
            return Record(number, error=how, offset=offset, raw=raw)
        self._say(f"{self.file} {number}")
        record = parse()
        self._say("")
        return record

    def _say(self, place: str) -> None:
        """One write, so that no reader sees half of it; a kill of the process leaves it in the kernel's hands."""
        os.pwrite(self._descriptor, f"{place:<63}\n".encode(), 0)

    def close(self) -> None:
        """The task is read: nothing about it is left to say."""
        os.close(self._descriptor)
        self._path.unlink()


def place_in(folder: Path) -> Place | None:
    """The record that was being parsed when a task ended in the middle; None: no parser was at work."""
    try:
        said = (folder / AT).read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None
    return (int(said[0]), said[1]) if said else None


@dataclass(frozen=True)
class RescueRecords:
    """The rescue of a task (files, options) that reads raw files; `options.blamed` names the records to be left out."""

    def covers(self, task: Any) -> bool:
        """Whether a parser may be to blame. Data sets of a hub are left alone: they may be fetched for long without a word."""
        configs = [file.config for file in task[0]]
        return any(isinstance(config, PARSED) for config in configs) and not any(isinstance(c, HubSource) for c in configs)

    def __call__(self, task: Any, folder: Path, lost: Lost, attempt: Attempt) -> None:
        """Read without the records to blame; errors as in `Rescue`.

        A record is to blame when a worker hung at it, or two died at it one after the other: one may be killed from outside.

        Raises:
            StageError: when no record was being parsed, or each time another one.
            SourceError: when too many are to blame.
        """
        work = folder.with_name(f".{folder.name}.rescue")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        blamed: dict[Place, str] = {}
        suspect: Place | None = None
        place, attempts, again = folder, 0, lost
        while True:
            at = place_in(temporary_of(place))
            if at is None or (again.how == "died" and suspect not in (None, at)):
                raise died(_told(folder, task), again)
            if again.how == "hung" or at == suspect:
                blamed[at], suspect = REASONS[again.how], None
                _check_number(blamed, folder, task)
            else:
                suspect = at
            attempts += 1
            place = work / f"attempt-{attempts}"
            still = attempt(_without(task, blamed), place)
            if still is None:
                break
            again = still
        shutil.rmtree(temporary_of(folder), ignore_errors=True)
        publish(place, folder)
        shutil.rmtree(work)


def _without(task: Any, blamed: Mapping[Place, str]) -> Any:
    files, options = task
    return files, dataclasses.replace(options, blamed=tuple((*place, how) for place, how in sorted(blamed.items())))


def _check_number(blamed: Mapping[Place, str], folder: Path, task: Any) -> None:
    if len(blamed) > MOST_AT_LEAST:
        file, record = min(blamed)
        raise SourceError(
            f"more than {MOST_AT_LEAST} records of one task end or hang their reader",
            where=f"{folder.parent.name}, first: {task[0][file].name} record {record}",
            expected="at most a few in a corpus",
            fix="give workers more memory (fewer of them) or time (--document-seconds), or leave the file out (`exclude`)",
        )


def _told(folder: Path, task: Any) -> str:
    """Step and files of a task, for a message."""
    names = list(dict.fromkeys(file.name for file in task[0]))
    return f"{folder.parent.name}: {', '.join(names[:SHOWN_NAMES])}{' ...' if len(names) > SHOWN_NAMES else ''}"
