"""Documents less some of their text: what repeated lines, paragraphs and spans have in common.

documents, what to take out --> part-*.parquet      the documents that stay, shorter; ids never change
                           `--> removed/part-*.parquet   id, pieces, characters: what each document lost; never text
                           `--> dropped.parquet     documents of which too little was left: rule, value, threshold
                           `--> repeated.json       pieces, characters and documents in all; how often the repeated text stands
                           `--> ledger.json
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lmpipe.base.files import read_json, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.documents import TableWriter, part_name, parts_of, tables_of, with_column
from lmpipe.data.dropped import dropped_rows, dropped_writer, gather_dropped
from lmpipe.data.parts import PartTask, finish, run_part_tasks
from lmpipe.data.tasks import Tick, gather_parts, save_ledger

REMOVED, REPORT = "removed", "repeated.json"
REMOVED_SCHEMA = pa.schema([("id", pa.string()), ("pieces", pa.int64()), ("characters", pa.int64())])
COUNTS = "counts.json"
WORD = re.compile(r"[^\W_]")
"""A document of which only punctuation is left has nothing left: a quotation mark stands behind many a repeated chapter."""
Span = tuple[int, int]
Finder = Callable[[str, npt.NDArray[np.void], Any], list[Span]]
"""(text, what to take out of it, config) -> where it stands, in characters, in order and apart."""


def rewrite(
    documents: Path,
    output: Path,
    removals: Sequence[Path],
    find: Finder,
    *,
    kind: np.dtype[np.void],
    repeated: Counter[int],
    config: Any,
    scratch: Path,
    progress: Progress,
    workers: int,
) -> Ledger:
    """Take text out of documents.

    Args:
        documents: folder with parts of documents.
        output: an existing, empty folder.
        removals: for each part a file of rows of `kind`, among whose fields is `row`, the document's number within the part.
        find: a function of a module: where the text stands.
        kind: of the rows of `removals`.
        repeated: in how many documents the repeated pieces stand, for the report.
        config: of the step; has `kind` and `min_kept`.
        scratch: for this step alone.
        progress: told documents done.
        workers: at most so many processes; changes no byte.

    Raises:
        SourceError: when no document is left.
    """
    task = (config, find, kind)
    tasks = [PartTask(part, task, (removal,)) for part, removal in zip(parts_of(documents), removals, strict=True)]
    folders = run_part_tasks(_rewrite_part, tasks, scratch / "rewrite", workers=workers, progress=progress)
    ledger = finish(folders, output, config.kind)
    gather_parts(folders, output / REMOVED, f"{REMOVED}/part-*.parquet")
    gather_dropped(folders, output)
    totals = Counter[str](documents=0, pieces=0, characters=0)
    for folder in folders:
        totals.update(read_json(folder / COUNTS))
    stands_in = {str(count): pieces for count, pieces in sorted(repeated.items())}
    write_json(output / REPORT, {**totals, "stands_in_documents": stands_in})
    return ledger


def _rewrite_part(task: PartTask, folder: Path, tick: Tick) -> None:
    config, find, kind = task.config
    assert task.beside[0] is not None
    removals = np.fromfile(task.beside[0], kind)
    removals = removals[np.argsort(removals["row"], kind="stable")]
    ledger, totals, row = Ledger(), Counter[str](), 0
    with (
        TableWriter(folder / part_name(0)) as kept_rows,
        TableWriter(folder / REMOVED / part_name(0), REMOVED_SCHEMA) as removed_rows,
        dropped_writer(folder) as gone,
    ):
        for table in tables_of(task.part):
            cuts = np.searchsorted(removals["row"], np.arange(row, row + table.num_rows + 1))
            before = table.column("text").to_pylist()
            spans = [
                find(text, removals[start:end], config) if end > start else []
                for text, start, end in zip(before, cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)
            ]
            after = [without(text, some) if some else text for text, some in zip(before, spans, strict=True)]
            stays = _book(ledger, before, after, config)
            lost = [sum(end - start for start, end in some) for some in spans]
            kept_rows.write(with_column(table, "text", after).filter(stays))
            removed_rows.write(_removed(table, spans, lost))
            gone.write(_dropped(table, before, after, stays, config))
            totals.update(documents=sum(map(bool, spans)), pieces=sum(map(len, spans)), characters=sum(lost))
            row += table.num_rows
            tick(table.num_rows)
    write_json(folder / COUNTS, totals)
    save_ledger(folder, ledger)


def without(text: str, spans: Sequence[Span]) -> str:
    """A text less some spans; words that stood on either side do not run together.

    >>> without("Alice wanted to go. The store was closed.", [(12, 24)])
    'Alice wanted store was closed.'
    """
    result: list[str] = []
    start = 0
    for begin, end in [*spans, (len(text), len(text))]:
        piece = text[start:begin]
        if piece and result and result[-1][-1].isalnum() and piece[0].isalnum():
            result.append(" ")
        result += [piece] if piece else []
        start = end
    return "".join(result)


def _book(ledger: Ledger, before: Sequence[str], after: Sequence[str], config: Any) -> list[bool]:
    stays = []
    for old, new in zip(before, after, strict=True):
        stays.append(new is old or (WORD.search(new) is not None and len(new) >= config.min_kept * len(old)))
        if stays[-1]:
            ledger.keep(len(old), len(new))
        else:
            ledger.drop(f"dedup.{config.kind}", len(old))
    return stays


def _removed(table: Any, spans: Sequence[Sequence[Span]], lost: Sequence[int]) -> Any:
    rows = [row for row, some in enumerate(spans) if some]
    ids = table.column("id").combine_chunks().take(pa.array(rows, pa.int64()))
    return pa.table([ids, [len(spans[row]) for row in rows], [lost[row] for row in rows]], schema=REMOVED_SCHEMA)


def _dropped(table: Any, before: Sequence[str], after: Sequence[str], stays: Sequence[bool], config: Any) -> Any:
    lengths = zip(before, after, stays, strict=True)
    left = [len(new) / len(old) for old, new, stay in lengths if not stay]
    return dropped_rows(
        table.filter([not stay for stay in stays]), f"dedup.{config.kind}", value=left, threshold=config.min_kept
    )
