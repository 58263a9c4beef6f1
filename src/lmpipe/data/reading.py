"""Raw files to documents: the `read` stage.

    files --> slices --> records --> part-*.parquet       documents with stable ids
                               |     media/part-*.parquet images and recordings, row for row beside them
                               `--> failures.jsonl        {file, record, error, offset, quarantined}: what could not be read
                               `--> quarantine.parquet    the bytes of it, up to a bound
                               `--> dropped.parquet       what is no document (empty, no page, ...): id, source, rule
                               `--> sources.jsonl         {name, licence, bytes, documents, characters, dropped, failed}
                               `--> ledger.json           records in = kept + dropped{reason} + failed{error}

Promises: memory does not follow the size of the input; the order is that of the sources and, within one, of the names; ids
depend on names, numbers and bytes only; a big file is read in slices, by as many workers as there are, with the same bytes. A
truncated or damaged file stops the run: nobody knows what it should have held (a damaged record of a web archive is booked,
because the next one can be found). A file that changes meanwhile stops it, too. A page or paper that ends or hangs its reader
is booked, and nothing else is lost (`readers/watching.py`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from lmpipe.base.errors import SourceError
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.documents import PART_BYTES, Document, PartWriter
from lmpipe.data.dropped import DroppedRecords, gather_dropped
from lmpipe.data.readers import dispatch
from lmpipe.data.readers.config import HubSource, MediaSource, ReadConfig, SourceConfig
from lmpipe.data.readers.dividing import WHOLE, Slice, WrongCutError, can_be_divided, divide, slice_bytes, slices_in
from lmpipe.data.readers.media import MEDIA, MediaWriter
from lmpipe.data.readers.opening import reading
from lmpipe.data.readers.quarantine import QUARANTINE, Quarantine, gather_quarantine
from lmpipe.data.readers.record import TOO_LONG, Record, meta_json, text_bytes, without_surrogates
from lmpipe.data.readers.sources import check_unchanged
from lmpipe.data.readers.watching import RescueRecords, Watch
from lmpipe.data.splitting.sides import SIDE
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
    """One raw file, or a slice of one, and how it is read."""

    config: SourceConfig
    name: str
    url: str
    size: int
    stamp: str
    beside: tuple[tuple[str, str], ...] = ()
    """(name, url) of files that belong to the same record."""
    part: Slice = WHOLE
    share: float = 1.0
    """Of the file's bytes, about so much is in the slice."""


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
        files: with `name`, `url`, `size` and `stamp`: every file that the sources name, in any order.
        output: an existing, empty folder.
        scratch: survives a kill; what is done is not done again.
        progress: told bytes read.
        workers: at most so many processes; changes no byte.
        part_bytes: of text in one part, and of files in one task.

    Raises:
        SourceError: when a file cannot be read to its end, changes meanwhile, too many records fail, or no document is left.
    """
    known = {file.name: file for file in files}
    wanted = [file for source in config.sources for file in _files(source, known)]
    options = _Options(part_bytes, config.max_quarantine_bytes, any(isinstance(s, MediaSource) for s in config.sources))
    run = {"workers": workers, "progress": progress, "unit": "bytes"}
    try:
        folders = _read_all(wanted, options, scratch, "", run)
    except WrongCutError:  # an archive within an archive, or a damaged one
        folders = _read_all(wanted, options, scratch, "-exactly", run)
    ledger = add_ledgers(folders)
    _gather_accounts(folders, output, config.max_quarantine_bytes)
    try:
        ledger.close(max_failed_fraction=config.max_failed_fraction, where=_first_failures(output / FAILURES))
    except SourceError as error:
        limits = sorted({source.max_record_bytes for source in config.sources}) if TOO_LONG in ledger.failed else []
        raise _with_list(error, output, scratch, limits) from error
    if not ledger.rows_kept:
        raise _empty(ledger, len(wanted))
    gather_parts(folders, output)
    if options.media:
        gather_parts(folders, output / MEDIA, f"{MEDIA}/part-*.parquet")
    save_ledger(output, ledger)
    return ledger


def _files(source: SourceConfig, known: Mapping[str, Any]) -> Iterator[_File]:
    """The files of a source as they are read: those that together are one record, as one."""
    if isinstance(source, HubSource):
        file = known[source.name]
        yield _File(source, file.name, file.url, file.size, file.stamp)
        return
    for group in dispatch.records_of_files(source, source.paths):
        first, *others = (known[name] for name in group)
        size, beside = sum(known[name].size for name in group), tuple((file.name, file.url) for file in others)
        yield _File(source, first.name, first.url, size, first.stamp if not others else "", beside)


def _read_all(files: list[_File], options: _Options, scratch: Path, how: str, run: Mapping[str, Any]) -> list[Path]:
    """Divide what is big, and read everything; the folders of the tasks, in order."""
    queue = _sliced(files, options.part_bytes, scratch / f"divide{how}", run, guess=not how)
    tasks = list(_tasks(queue, options.part_bytes))
    sizes = [sum(file.size * file.share for file in task) for task in tasks]
    every = [(task, options) for task in tasks]
    return run_tasks(_read_files, every, sizes, scratch / f"read{how}", rescue=RescueRecords(), **run)


def _sliced(files: list[_File], part_bytes: int, scratch: Path, run: Mapping[str, Any], *, guess: bool) -> list[_File]:
    """The files, with slices of big ones in their places."""
    big = [f for f in files if can_be_divided(f.config) and f.size > 2 * slice_bytes(f.config, part_bytes)]
    tasks = [(file, slice_bytes(file.config, part_bytes), guess) for file in big]
    folders = run_tasks(_divide_file, tasks, [file.size for file in big], scratch, **run)
    found = {file.name: slices_in(folder) for file, folder in zip(big, folders, strict=True)}
    return [
        replace(file, part=part, share=1 / len(found[file.name])) if file.name in found else file
        for file in files
        for part in found.get(file.name, [WHOLE])
    ]


def _divide_file(task: tuple[_File, int, bool], folder: Path, tick: Tick) -> None:
    file, size, guess = task
    with reading(file.name, file.url):
        divide(file.config, file.name, file.url, size, folder, tick, guess=guess)


def _tasks(files: Sequence[_File], part_bytes: int) -> Iterator[tuple[_File, ...]]:
    """Runs of files and slices that together fill about one part; slices of a web archive are tasks of their own."""
    task: list[_File] = []
    size = 0.0
    for file in files:
        task.append(file)
        size += file.size * file.share
        if size >= slice_bytes(file.config, part_bytes) or file.part != WHOLE:
            yield tuple(task)
            task, size = [], 0
    if task:
        yield tuple(task)


@dataclass(frozen=True)
class _Options:
    """What all tasks have in common."""

    part_bytes: int
    max_quarantine_bytes: int
    media: bool
    blamed: tuple[tuple[int, str, str], ...] = ()
    """(number of the file in the task, record, why): records that ended or hung a reader, so they are not parsed."""


def _read_files(task: tuple[tuple[_File, ...], _Options], folder: Path, tick: Tick) -> None:
    files, options = task
    total = Ledger()
    quarantine = Quarantine(folder, options.max_quarantine_bytes)
    blamed = {(file, record): how for file, record, how in options.blamed}
    with (
        closing(Watch(folder, blamed)) as watch,
        (MediaWriter if options.media else PartWriter)(folder, part_bytes=options.part_bytes) as writer,
        (folder / FAILURES).open("w", encoding="utf-8") as failures,
        (folder / SOURCES).open("w", encoding="utf-8") as sources,
        closing(DroppedRecords(folder)) as dropped,
    ):
        for watch.file, file in enumerate(files):
            account = _Account(file, writer, failures, quarantine, dropped)
            meter = _Meter(tick, file.size * file.share)
            for record in dispatch.records(file, file.part, meter.add, watch):
                account.book(without_surrogates(record, file.config.errors))
            _check_unchanged(file)
            meter.close()
            sources.write(_line(account.summary()))
            total.add(account.ledger)
    quarantine.close()
    save_ledger(folder, total)


def _check_unchanged(file: _File) -> None:
    allowed = not isinstance(file.config, HubSource) and file.config.allow_private_addresses
    check_unchanged(file.name, file.url, file.size, file.stamp, allow_private=allowed)


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


@dataclass
class _Account:
    """Books the records of one file: into parts, into failures, into a ledger."""

    file: _File
    writer: PartWriter
    failures: TextIO
    quarantine: Quarantine
    dropped: DroppedRecords
    ledger: Ledger = field(default_factory=Ledger)

    def book(self, record: Record) -> None:
        """Write one record where it belongs."""
        if record.dropped is not None:
            self._drop(record, record.dropped)
        elif record.text is None:
            self._fail(record, record.error or "")
        elif not record.text or record.text.isspace():
            self._drop(record, EMPTY)
        elif record.text.count("\0") * BINARY_NULS > len(record.text):
            self._fail(record, BINARY)
        else:
            document = self._document(record, record.text)
            if isinstance(self.writer, MediaWriter):
                self.writer.add_with_media(document, record)
            else:
                self.writer.add(document)
            self.ledger.keep(len(record.text))

    def _document(self, record: Record, text: str) -> Document:
        digest = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
        return Document(
            id=f"{self.file.name}:{record.number}:{digest}",
            text=text,
            source=self.file.name,
            licence=record.licence or self.file.config.licence,
            language=record.language or self.file.config.language,
            meta=meta_json({**(record.meta or {}), **({SIDE: self.file.config.side} if self.file.config.side else {})}),
        )

    def _drop(self, record: Record, rule: str) -> None:
        self.ledger.drop(rule, len(record.text or ""))
        self.dropped.add(f"{self.file.name}:{record.number}", self.file.name, rule)

    def _fail(self, record: Record, error: str) -> None:
        self.ledger.fail(error)
        raw = record.raw if record.text is None else text_bytes(record.text)
        whole = not record.cut and error != TOO_LONG
        kept = raw is not None and self.quarantine.add(self.file.name, record.number, error, record.offset, raw, whole)
        offset = {} if record.offset is None else {"offset": record.offset}
        line = {"file": self.file.name, "record": record.number, "error": error, **offset, "quarantined": kept}
        self.failures.write(_line(line))

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


def _gather_accounts(folders: Sequence[Path], output: Path, max_quarantine_bytes: int) -> None:
    """Failures, their bytes, and one line for each file whatever the number of its slices."""
    gather_lines(folders, output, FAILURES)
    gather_quarantine(folders, output, max_quarantine_bytes)
    gather_dropped(folders, output)
    gather_lines(folders, output, SOURCES)
    slices, joined = output / SOURCES, output / f"{SOURCES}.joined"
    with slices.open(encoding="utf-8") as lines, joined.open("w", encoding="utf-8") as target:
        for summary in _joined(map(json.loads, lines)):
            target.write(_line(summary))
    joined.replace(slices)


def _joined(summaries: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Neighbours of one name, added up."""
    last: dict[str, Any] | None = None
    for summary in summaries:
        if last is not None and last["name"] == summary["name"]:
            counts = ("documents", "characters", "dropped", "failed")
            last |= {key: last[key] + summary[key] for key in counts}
        else:
            if last is not None:
                yield last
            last = summary
    if last is not None:
        yield last


def _with_list(error: SourceError, output: Path, scratch: Path, limits: Sequence[int]) -> SourceError:
    """The same error, the list of failures saved where it survives: a stage that stops leaves no output.

    `limits`: of the length of records, where some were longer."""
    longest = " and ".join(f"{limit:,}" for limit in limits)
    longer = f"; `max_record_bytes` of a source, {longest} here, may be raised" if limits else ""
    kept = [shutil.copy2(output / name, scratch / name) for name in (FAILURES, QUARANTINE)]
    return SourceError(
        error.what,
        where=error.where,
        expected=error.expected,
        fix=f"{error.fix}{longer}; all of them are listed in {kept[0]}, their bytes are in {kept[1]}",
    )


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
