"""Raw files to documents: the `read` stage.

    files --> records --> part-*.parquet     documents with stable ids
                     `--> failures.jsonl     {file, record, error, offset}: what could not be read, never its text
                     `--> sources.jsonl      {name, licence, bytes, documents, characters, dropped, failed}: one line per file
                     `--> ledger.json        records in = kept + dropped{empty} + failed{error}

Promises: memory does not follow the size of the input; the order is that of the sources and, within one, of the names; ids
depend on names, numbers and bytes only. A truncated or damaged file stops the run: nobody knows what it should have held.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TextIO

from lmpipe.base.errors import SourceError
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.documents import PART_BYTES, Document, PartWriter
from lmpipe.data.readers.config import CsvSource, HubSource, JsonlSource, ParquetSource, ReadConfig, SourceConfig, TextSource
from lmpipe.data.readers.opening import open_decompressed, reading
from lmpipe.data.readers.record import Record, Records, meta_json, record_of_row, without_surrogates
from lmpipe.data.tasks import Tick, add_ledgers, gather_lines, gather_parts, run_tasks, save_ledger

FAILURES = "failures.jsonl"
SOURCES = "sources.jsonl"
EMPTY = "empty"
BINARY = "binary: more than 1 in 100 characters is NUL"
BINARY_NULS = 100
"""Text has no NULs. A few are accidents that the unicode step removes; a hundredth of all means another encoding or no text."""
SHOWN_FAILURES = 5


@dataclass(frozen=True)
class _File:
    """One raw file and how it is read."""

    config: SourceConfig
    name: str
    url: str
    size: int


def read(
    config: ReadConfig,
    files: Sequence[Any],
    output: Path,
    *,
    scratch: Path,
    progress: Progress,
    workers: int,
    part_bytes: int = PART_BYTES,
) -> Ledger:
    """Read every file of a corpus.

    Args:
        config: the sources, with names of files for paths, as `sources.pinned` makes it.
        files: with `name`, `url` and `size`: every file that the sources name, in any order.
        output: an existing, empty folder.
        scratch: survives a kill; what is done is not done again.
        progress: told bytes read.
        workers: at most so many processes; changes no byte.
        part_bytes: of text in one part, and of files in one task.

    Raises:
        SourceError: when a file cannot be read to its end, too many records fail, or no document is left.
    """
    known = {file.name: file for file in files}
    wanted = [(source, name) for source in config.sources for name in _names(source)]
    queue = [_File(source, name, known[name].url, known[name].size) for source, name in wanted]
    tasks = list(_tasks(queue, part_bytes))
    folders = run_tasks(
        _read_files,
        [(task, part_bytes) for task in tasks],
        [sum(file.size for file in task) for task in tasks],
        scratch / "read",
        workers=workers,
        progress=progress,
        unit="bytes",
    )
    ledger = add_ledgers(folders)
    for name in (FAILURES, SOURCES):
        gather_lines(folders, output, name)
    ledger.close(max_failed_fraction=config.max_failed_fraction, where=_first_failures(output / FAILURES))
    if not ledger.rows_kept:
        raise _empty(ledger, len(queue))
    gather_parts(folders, output)
    save_ledger(output, ledger)
    return ledger


def _names(source: SourceConfig) -> Sequence[str]:
    return (source.name,) if isinstance(source, HubSource) else source.paths


def _tasks(files: Sequence[_File], part_bytes: int) -> Iterator[tuple[_File, ...]]:
    """Runs of files that together fill about one part. A single file is never divided."""
    task: list[_File] = []
    size = 0
    for file in files:
        task.append(file)
        size += file.size
        if size >= part_bytes:
            yield tuple(task)
            task, size = [], 0
    if task:
        yield tuple(task)


def _read_files(task: tuple[tuple[_File, ...], int], folder: Path, tick: Tick) -> None:
    files, part_bytes = task
    total = Ledger()
    with (
        PartWriter(folder, part_bytes=part_bytes) as writer,
        (folder / FAILURES).open("w", encoding="utf-8") as failures,
        (folder / SOURCES).open("w", encoding="utf-8") as sources,
    ):
        for file in files:
            account = _Account(file, writer, failures)
            meter = _Meter(tick, file.size)
            for record in _records(file, meter.add):
                account.book(without_surrogates(record, file.config.errors))
            meter.close()
            sources.write(_line(account.summary()))
            total.add(account.ledger)
    save_ledger(folder, total)


@dataclass
class _Meter:
    """Tells the bytes of one file: never more than it has (decompressed text is longer), all of them at its end."""

    tick: Tick
    left: float

    def add(self, amount: float) -> None:
        """So much was read."""
        amount = min(amount, self.left)
        self.left -= amount
        self.tick(amount)

    def close(self) -> None:
        """The file is done."""
        self.add(self.left)


def _records(file: _File, tick: Tick) -> Records:
    """The records of one file, by the reader of its kind."""
    if isinstance(file.config, HubSource):
        from lmpipe.data.readers.hub import read_rows

        rows = read_rows(file.config, file.name, file.url)
        yield from (record_of_row(file.config, number, row) for number, row in enumerate(rows))
        return
    with reading(file.name, file.url), open_decompressed(file.url) as stream:
        yield from _records_of_stream(file, stream, tick)


def _records_of_stream(file: _File, stream: IO[bytes], tick: Tick) -> Records:
    match file.config:
        case TextSource():
            from lmpipe.data.readers.text import read_text

            return read_text(file.config, stream, tick)
        case JsonlSource():
            from lmpipe.data.readers.jsonl import read_jsonl

            return read_jsonl(file.config, stream, tick)
        case CsvSource():
            from lmpipe.data.readers.csv import read_csv

            return read_csv(file.config, stream, file.name, tick)
        case ParquetSource():
            from lmpipe.data.readers.parquet import read_parquet

            return read_parquet(file.config, stream, file.name, file.url, tick)
        case HubSource():
            raise TypeError("a data set of the hub is no stream")


@dataclass
class _Account:
    """Books the records of one file: into parts, into failures, into a ledger."""

    file: _File
    writer: PartWriter
    failures: TextIO
    ledger: Ledger = field(default_factory=Ledger)

    def book(self, record: Record) -> None:
        """Write one record where it belongs."""
        if record.text is None:
            self._fail(record, record.error or "")
        elif not record.text or record.text.isspace():
            self.ledger.drop(EMPTY, len(record.text))
        elif record.text.count("\0") * BINARY_NULS > len(record.text):
            self._fail(record, BINARY)
        else:
            self.writer.add(self._document(record, record.text))
            self.ledger.keep(len(record.text))

    def _document(self, record: Record, text: str) -> Document:
        digest = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
        return Document(
            id=f"{self.file.name}:{record.number}:{digest}",
            text=text,
            source=self.file.name,
            licence=record.licence or self.file.config.licence,
            language=record.language or self.file.config.language,
            meta=meta_json(record.meta),
        )

    def _fail(self, record: Record, error: str) -> None:
        self.ledger.fail(error)
        offset = {} if record.offset is None else {"offset": record.offset}
        self.failures.write(_line({"file": self.file.name, "record": record.number, "error": error, **offset}))

    def summary(self) -> dict[str, Any]:
        """What the file gave."""
        return {
            "name": self.file.name,
            "licence": self.file.config.licence,
            "bytes": self.file.size,
            "documents": self.ledger.rows_kept,
            "characters": self.ledger.characters_kept,
            "dropped": self.ledger.dropped.total(),
            "failed": self.ledger.failed.total(),
        }


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=True) + "\n"


def _first_failures(path: Path) -> str:
    """The first few failures in one line, for a message."""
    with path.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line, _ in zip(file, range(SHOWN_FAILURES), strict=False)]
    places = (f" at byte {line['offset']}" if "offset" in line else "" for line in lines)
    return "; ".join(
        f"{line['file']} record {line['record']}: {line['error']}{place}" for line, place in zip(lines, places, strict=True)
    )


def _empty(ledger: Ledger, files: int) -> SourceError:
    reasons = ", ".join(f"{count} {reason}" for reason, count in (ledger.dropped + ledger.failed).most_common(5))
    return SourceError(
        f"the corpus is empty: no document in {files} file{'s' if files != 1 else ''}",
        where=reasons or "the files hold no records",
        expected="at least one document with text",
        fix="check `paths` and `kind`",
    )
