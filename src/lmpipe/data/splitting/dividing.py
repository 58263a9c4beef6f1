"""Documents to training, validation and test text: the `split` stage.

    part-*.parquet --> train/part-*.parquet  validation/part-*.parquet  test/part-*.parquet
                  `--> splits.json           {split: {documents, characters, bytes}}
                  `--> composition.json      {licences, languages: {name: documents}} of all three together
                  `--> leakage.json, leaks.parquet    where the sides are compared (`leakage.py`)
                  `--> dropped.parquet    where leaking documents are taken out
                  `--> ledger.json

Where a document falls is another module's: `groups.py` (document, source, group), `ranked.py` (time, stratum), `positions.py`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.documents import TableWriter, part_name, parts_of, tables_of
from lmpipe.data.dropped import dropped_rows, dropped_writer, gather_dropped
from lmpipe.data.parts import PartTask, run_part_tasks
from lmpipe.data.splitting.config import SPLITS, LeakageConfig, SplitConfig
from lmpipe.data.splitting.groups import plan_by_hash
from lmpipe.data.splitting.leakage import GONE_SCHEMA, Leak, find_leaks, keep_gone, refused, write_leaks
from lmpipe.data.splitting.positions import cut, lengths_of, plan_positions
from lmpipe.data.splitting.ranked import plan_by_rank
from lmpipe.data.splitting.sides import sides_with_stated
from lmpipe.data.tasks import Task, Tick, add_ledgers, gather_parts, save_ledger

FACTS = "splits.json"
COMPOSITION = "composition.json"
LEAKAGE = "split.leakage"


def split(
    documents: Path,
    output: Path,
    *,
    config: SplitConfig,
    seed: int,
    scratch: Path,
    progress: Progress,
    workers: int,
    given: bool = False,
) -> Ledger:
    """Divide documents.

    Args:
        documents: folder with parts of documents.
        output: an existing, empty folder.
        config: shares, and what stays on one side.
        seed: of the hash; by position it changes nothing.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done, twice over.
        workers: at most so many processes; changes no byte.
        given: whether sources name the `side` of their documents.

    Raises:
        SourceError: when a side that has a share would be empty, or the sides share text and that is refused.
    """
    options: dict[str, Any] = {"workers": workers, "progress": progress}
    parts = parts_of(documents)
    divide: Task[PartTask] = _divide_by_row
    plans: Sequence[Any]
    if config.by == "position":
        divide, plans = _divide_by_position, plan_positions(documents, config, scratch, **options)
    elif config.by in ("time", "stratum"):
        plans = [plan_by_rank(documents, config, seed, scratch, given=given, **options)] * len(parts)
    else:
        plans = [plan_by_hash(documents, config, seed, scratch, given=given, **options)] * len(parts)
    tasks = [PartTask(part, (plan, None, given)) for part, plan in zip(parts, plans, strict=True)]
    folders = run_part_tasks(divide, tasks, scratch / "split", **options)
    if config.leakage:
        leaks = _leaks(folders, config.leakage, scratch, output, **options)
        if leaks and config.leakage.action == "drop":
            gone = keep_gone(leaks, config.leakage, scratch)
            tasks = [PartTask(part, (plan, gone, given)) for part, plan in zip(parts, plans, strict=True)]
            folders = run_part_tasks(divide, tasks, scratch / "without", **options)
            gather_dropped(folders, output)
    return finish(folders, output, config)


def _leaks(folders: Sequence[Path], config: LeakageConfig, scratch: Path, output: Path, **options: Any) -> list[Leak]:
    """What one side has of another, written down."""
    sides = scratch / "sides"
    shutil.rmtree(sides, ignore_errors=True)
    for side in SPLITS:
        gather_parts(folders, sides / side, f"{side}/part-*.parquet")
    leaks = find_leaks(sides, config, scratch, **options)
    if leaks and config.action == "refuse":
        raise refused(leaks, config)
    write_leaks(leaks, config, output)
    return leaks


def finish(folders: Sequence[Path], output: Path, config: SplitConfig) -> Ledger:
    """What `Sides` left in some folders as one division: parts of three sides, counts, ledger."""
    ledger = add_ledgers(folders)
    ledger.close(where="split")
    facts = [read_json(folder / FACTS) for folder in folders]
    totals = {side: _added([one["splits"][side] for one in facts]) for side in SPLITS}
    for side in SPLITS:
        if not totals[side]["documents"] and config.share(side):
            raise _too_short(side, ledger)
        gather_parts(folders, output / side, f"{side}/part-*.parquet")
    write_json(output / FACTS, totals)
    write_json(output / COMPOSITION, {key: _added([one[key] for one in facts]) for key in ("licences", "languages")})
    save_ledger(output, ledger)
    return ledger


def _added(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


def _divide_by_row(task: PartTask, folder: Path, tick: Tick) -> None:
    plan, leaking, given = task.config
    with Sides(folder, leaking) as sides:
        for table in tables_of(task.part):
            chosen = pa.array(sides_with_stated(table, given, plan.sides_of), pa.string())
            for side in SPLITS:
                sides.write(side, table.filter(pc.equal(chosen, side)))
            sides.book(table)
            tick(table.num_rows)


def _divide_by_position(task: PartTask, folder: Path, tick: Tick) -> None:
    (borders, leaking, _), position = task.config, 0
    with Sides(folder, leaking) as sides:
        for table in tables_of(task.part):
            for row, length in enumerate(lengths_of(table)):
                for side, document in cut(table.slice(row, 1), length, [border - position for border in borders]):
                    sides.write(side, document)
                position += length
            sides.book(table)
            tick(table.num_rows)


class Sides:
    """Writes the three sides of one part, each only if something falls there, and counts."""

    def __init__(self, folder: Path, leaking: Path | None) -> None:
        self._folder, self._stack = folder, ExitStack()
        self._leaks = GONE_SCHEMA.empty_table() if leaking is None else pq.read_table(leaking)
        self._leaking = self._leaks.column("id").combine_chunks()
        self._gone = self._stack.enter_context(dropped_writer(folder)) if leaking is not None else None
        self._writers: dict[str, TableWriter] = {}
        self._waiting: dict[str, list[Any]] = {side: [] for side in SPLITS}
        self._counts = {side: Counter(documents=0, characters=0, bytes=0) for side in SPLITS}
        self._licences, self._languages = Counter[str](), Counter[str]()
        self._ledger = Ledger()

    def write(self, side: str, table: Any) -> None:
        """Rows that fall on a side; they reach the disk with the next `book`."""
        if table.num_rows:
            self._waiting[side].append(table)

    def book(self, table: Any) -> None:
        """All rows of a row group were written somewhere, or leak."""
        leaks = pc.is_in(table.column("id"), value_set=self._leaking)
        for length, leaking in zip(lengths_of(table), leaks.to_pylist(), strict=True):
            if leaking:
                self._ledger.drop(LEAKAGE, length)
            else:
                self._ledger.keep(length)
        table = table.filter(pc.invert(leaks))
        for counter, column in ((self._licences, "licence"), (self._languages, "language")):
            counter.update(table.column(column).to_pylist())
        for side, tables in self._waiting.items():
            if tables:
                together = pa.concat_tables(tables).combine_chunks()
                self._flush(side, self._without_leaks(together))
                tables.clear()

    def _without_leaks(self, table: Any) -> Any:
        """The rows that stay on their side; the others are listed."""
        if self._gone is None:
            return table
        places = pc.index_in(table.column("id"), value_set=self._leaking)
        why = self._leaks.take(pc.drop_null(places))
        columns = {"value": why["similarity"], "threshold": why["threshold"], "duplicate_of": why["of"]}
        self._gone.write(
            dropped_rows(
                table.filter(pc.is_valid(places)), LEAKAGE, **{name: list_.to_pylist() for name, list_ in columns.items()}
            )
        )
        return table.filter(pc.is_null(places))

    def _flush(self, side: str, table: Any) -> None:
        if not table.num_rows:
            return
        if side not in self._writers:
            self._writers[side] = self._stack.enter_context(TableWriter(self._folder / side / part_name(0)))
        self._writers[side].write(table)
        size = pc.sum(pc.binary_length(table.column("text").cast(pa.large_binary()))).as_py()
        self._counts[side].update(documents=table.num_rows, characters=sum(lengths_of(table)), bytes=size)

    def __enter__(self) -> Sides:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._stack.__exit__(kind, error, trace)
        if error is None:
            facts = {"splits": self._counts, "licences": self._licences, "languages": self._languages}
            write_json(self._folder / FACTS, facts)
            save_ledger(self._folder, self._ledger)


def _too_short(side: str, ledger: Ledger) -> SourceError:
    return SourceError(
        f"the {side} text is empty: the corpus has {ledger.rows_kept} documents with {ledger.characters_kept} characters",
        where="split",
        expected="text on every side that has a share",
        fix="read more text, or give that side a larger share",
    )
