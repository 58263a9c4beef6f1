"""Documents without their boilerplate lines: the `lines` stage. Text may change, ids never do.

    part-*.parquet --> part-*.parquet     the same rows, less those of which no line was left
                  |--> dropped.parquet    those: id, source, rule; never text
                  |--> lines.json         {rule: {lines, characters}}: what each rule took out
                  `--> ledger.json

A line goes by the first rule that it breaks; lines that stay are stripped of white space at their ends. Lines that stand in
many documents are found in a pass of its own, by 64-bit hashes: sorted for each part, then counted one of 256 ranges at a time,
so that memory follows the largest range (16 bytes for each of its distinct lines and parts).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.base.files import read_json, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.cleaning.config import LinesConfig
from lmpipe.data.documents import TableWriter, part_name, tables_of, with_column
from lmpipe.data.dropped import dropped_rows, dropped_writer, gather_dropped
from lmpipe.data.filters.c4 import LineJudge
from lmpipe.data.filters.lists import host_and_path, url_of
from lmpipe.data.parts import PartTask, finish, run_over_parts
from lmpipe.data.tasks import Tick, save_ledger

EMPTY = "lines.nothing_left"
REPEATED = "repeated"
REMOVED = "lines.json"
COUNTS = "counts.npy"
COUNT = np.dtype([("hash", "<u8"), ("documents", "<i8")])
RANGES = 256

Hashes = npt.NDArray[np.uint64]


def remove_lines(
    documents: Path, output: Path, *, config: LinesConfig, scratch: Path, progress: Progress, workers: int
) -> tuple[Ledger, dict[str, dict[str, int]]]:
    """Take boilerplate lines out of every document; return the account of documents and that of lines.

    Args:
        documents: folder with parts of documents.
        output: an existing, empty folder.
        config: which lines go.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done.
        workers: at most so many processes; changes no byte.

    Raises:
        SourceError: when nothing is left.
    """
    repeated = scratch / "repeated.npy"
    if config.repeated_in is not None:
        options: dict[str, Any] = {"workers": workers, "progress": progress}
        counted = run_over_parts(_count_part, documents, config, scratch / "count", **options)
        files = [(folder / COUNTS, len(np.load(folder / COUNTS, allow_pickle=False))) for folder in counted]
        found = [*_above(files, config.repeated_in)]
        np.save(repeated, np.concatenate(found) if found else np.empty(0, np.uint64), allow_pickle=False)
    task = (config, repeated if config.repeated_in is not None else None)
    folders = run_over_parts(_clean_part, documents, task, scratch / "lines", workers=workers, progress=progress)
    ledger = finish(folders, output, "lines")
    gather_dropped(folders, output)
    removed = _added([read_json(folder / REMOVED) for folder in folders])
    write_json(output / REMOVED, removed)
    return ledger, removed


def _added(accounts: Sequence[dict[str, dict[str, int]]]) -> dict[str, dict[str, int]]:
    rules = sorted({rule for account in accounts for rule in account})
    return {
        rule: {what: sum(account.get(rule, {}).get(what, 0) for account in accounts) for what in ("lines", "characters")}
        for rule in rules
    }


def _count_part(task: PartTask, folder: Path, tick: Tick) -> None:
    """In how many documents of one part each line stands."""
    found: list[Hashes] = []
    for table in tables_of(task.part):
        for group, text in zip(_groups(table, task.config), table.column("text").to_pylist(), strict=True):
            hashes = _hashes([line.strip() for line in text.splitlines()], group, task.config)
            found.append(np.unique(hashes[hashes > 0]))
        tick(table.num_rows)
    hashes, counts = np.unique(np.concatenate(found) if found else np.empty(0, np.uint64), return_counts=True)
    table = np.empty(len(hashes), COUNT)
    table["hash"], table["documents"] = hashes, counts
    np.save(folder / COUNTS, table, allow_pickle=False)


def _groups(table: Any, config: LinesConfig) -> list[str]:
    """Documents of one group are counted together."""
    if config.repeated_within == "corpus":
        return [""] * table.num_rows
    sources = table.column("source").to_pylist()
    if config.repeated_within == "source":
        return list(map(str, sources))
    urls = (url_of(meta, "url") for meta in table.column("meta").to_pylist())
    return [host_and_path(url or source)[0] for url, source in zip(urls, sources, strict=True)]


def _hashes(lines: Sequence[str], group: str, config: LinesConfig) -> Hashes:
    """A hash of each line that is long enough, 0 of the others; equal lines of two groups differ."""
    key = hashlib.blake2b(group.encode(), digest_size=16).digest()
    digests = (
        hashlib.blake2b(line.encode(), digest_size=8, key=key).digest()
        if len(line) >= config.repeated_min_characters
        else bytes(8)
        for line in lines
    )
    return np.frombuffer(b"".join(digests), np.dtype("<u8")).astype(np.uint64)


def _above(files: Sequence[tuple[Path, int]], most: int) -> Iterator[Hashes]:
    """Hashes of lines that stand in more than `most` documents, ascending."""
    counts = [np.load(file, mmap_mode="r" if rows else None, allow_pickle=False) for file, rows in files]
    edges = np.arange(RANGES, dtype=np.uint64) << np.uint64(64 - 8)
    cuts = [[*np.searchsorted(part["hash"], edges), len(part)] for part in counts]
    for number in range(RANGES):
        together = np.concatenate([part[cut[number] : cut[number + 1]] for part, cut in zip(counts, cuts, strict=True)])
        hashes, which = np.unique(together["hash"], return_inverse=True)
        documents = np.bincount(which, together["documents"], len(hashes))
        yield hashes[documents > most]


def _clean_part(task: PartTask, folder: Path, tick: Tick) -> None:
    config, path = task.config
    cleaner = _Cleaner(config, np.load(path, allow_pickle=False) if path else None)
    ledger = Ledger()
    with (
        TableWriter(folder / part_name(0)) as kept_rows,
        dropped_writer(folder) as gone,
    ):
        for table in tables_of(task.part):
            texts = table.column("text").to_pylist()
            cleaned = [cleaner.clean(text, group) for text, group in zip(texts, _groups(table, config), strict=True)]
            for before, after in zip(texts, cleaned, strict=True):
                if after:
                    ledger.keep(len(before), len(after))
                else:
                    ledger.drop(EMPTY, len(before))
            stays = pa.array([bool(text) for text in cleaned])
            kept_rows.write(with_column(table, "text", cleaned).filter(stays))
            gone.write(dropped_rows(table.filter(pc.invert(stays)), EMPTY))
            tick(table.num_rows)
    save_ledger(folder, ledger)
    rules = sorted(cleaner.lines)
    write_json(
        folder / REMOVED, {rule: {"lines": cleaner.lines[rule], "characters": cleaner.characters[rule]} for rule in rules}
    )


class _Cleaner:
    """Cleans texts and counts what each rule took out."""

    def __init__(self, config: LinesConfig, repeated: Hashes | None) -> None:
        self.config, self.repeated = config, repeated
        self.judge = LineJudge(config)
        self.lines: Counter[str] = Counter()
        self.characters: Counter[str] = Counter()

    def clean(self, text: str, group: str) -> str:
        """What is left of a text."""
        judged = self.judge.lines_of(text)
        if self.repeated is not None and len(self.repeated):
            hashes = _hashes([line for line, _ in judged], group, self.config)
            place = np.minimum(np.searchsorted(self.repeated, hashes), len(self.repeated) - 1)
            often = (self.repeated[place] == hashes).tolist()
            judged = [(line, rule or (REPEATED if again else "")) for (line, rule), again in zip(judged, often, strict=True)]
        for line, rule in judged:
            if rule and line:
                self.lines[rule] += 1
                self.characters[rule] += len(line)
        return "\n".join([line.strip() for line, rule in judged if not rule]).strip()
