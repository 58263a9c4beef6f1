"""Documents to training, validation and test text: the `split` stage.

    part-*.parquet --> train/part-*.parquet  validation/part-*.parquet  test/part-*.parquet
                  `--> splits.json           {split: {documents, characters, bytes}}
                  `--> composition.json      {licences, languages: {name: documents}} of all three together
                  `--> ledger.json

By document or source, a group falls where the hash of its name says (`sides.py`), so no group stands on two sides and more
text moves no document. By position, the corpus in its order is cut at two places; a document that holds such a place is cut
at the last line end before it, and its parts get `/1`, `/2`, `/3` after their id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.documents import TableWriter, group_key, part_name, parts_of, tables_of, with_column
from lmpipe.data.parts import PartTask, run_over_parts, run_part_tasks
from lmpipe.data.splitting.config import SplitConfig
from lmpipe.data.splitting.sides import SPLITS, Survey, hash_of, side_of
from lmpipe.data.tasks import Tick, add_ledgers, gather_parts, save_ledger

FACTS = "splits.json"
COMPOSITION = "composition.json"
SURVEY = "survey.json"


def split(
    documents: Path, output: Path, *, config: SplitConfig, seed: int, scratch: Path, progress: Progress, workers: int
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

    Raises:
        SourceError: when training, validation or test text would be empty.
    """
    kwargs: dict[str, Any] = {"workers": workers, "progress": progress}
    plans: Sequence[Any]
    if config.by == "position":
        surveyed = run_over_parts(_survey_lengths, documents, None, scratch / "survey", **kwargs)
        plans = _positions([read_json(folder / SURVEY) for folder in surveyed], config)
        divide = _divide_by_position
    else:
        surveyed = run_over_parts(_survey_groups, documents, (config, seed), scratch / "survey", **kwargs)
        exceptions = _merged([read_json(folder / SURVEY) for folder in surveyed]).exceptions(config)
        plans = [(config, seed, exceptions)] * len(surveyed)
        divide = _divide_by_group
    tasks = [PartTask(part, plan) for part, plan in zip(parts_of(documents), plans, strict=True)]
    return _finish(run_part_tasks(divide, tasks, scratch / "split", **kwargs), output)


def _finish(folders: Sequence[Path], output: Path) -> Ledger:
    ledger = add_ledgers(folders)
    ledger.close(where="split")
    facts = [read_json(folder / FACTS) for folder in folders]
    totals = {side: _added([one["splits"][side] for one in facts]) for side in SPLITS}
    for side in SPLITS:
        if not totals[side]["documents"]:
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


def _survey_groups(task: PartTask, folder: Path, tick: Tick) -> None:
    config, seed = task.config
    survey = Survey()
    for table in tables_of(task.part, ["id", "source"]):
        survey.add(((hash_of(seed, group), group) for group in set(_groups(table, config))), config)
        tick(table.num_rows)
    write_json(folder / SURVEY, survey.groups)


def _merged(groups: Sequence[dict[str, list[tuple[float, str]]]]) -> Survey:
    total = Survey()
    for one in groups:
        total.merge(Survey({side: [(hashed, name) for hashed, name in one[side]] for side in SPLITS}))
    return total


def _groups(table: Any, config: SplitConfig) -> list[str]:
    if config.by == "source":
        return table.column("source").to_pylist()  # type: ignore[no-any-return]
    return [group_key(identity) for identity in table.column("id").to_pylist()]


def _divide_by_group(task: PartTask, folder: Path, tick: Tick) -> None:
    config, seed, exceptions = task.config
    with _Sides(folder) as sides:
        for table in tables_of(task.part):
            groups = _groups(table, config)
            side_by_group = {g: exceptions.get(g) or side_of(hash_of(seed, g), config) for g in set(groups)}
            chosen = pa.array([side_by_group[group] for group in groups], pa.string())
            for side in SPLITS:
                sides.write(side, table.filter(pc.equal(chosen, side)))
            sides.book(table)
            tick(table.num_rows)


def _survey_lengths(task: PartTask, folder: Path, tick: Tick) -> None:
    characters = 0
    for table in tables_of(task.part, ["text"]):
        characters += sum(_lengths(table))
        tick(table.num_rows)
    write_json(folder / SURVEY, characters)


def _positions(lengths: Sequence[int], config: SplitConfig) -> list[tuple[int, int]]:
    """For every part, where the two borders are, counted in characters from its beginning."""
    total = sum(lengths)
    starts = list(accumulate(lengths, initial=0))[:-1]
    first, second = round(config.train * total), round((config.train + config.validation) * total)
    return [(first - start, second - start) for start in starts]


def _divide_by_position(task: PartTask, folder: Path, tick: Tick) -> None:
    borders, position = task.config, 0
    with _Sides(folder) as sides:
        for table in tables_of(task.part):
            for row, length in enumerate(_lengths(table)):
                for side, document in _cut(table.slice(row, 1), length, [border - position for border in borders]):
                    sides.write(side, document)
                position += length
            sides.book(table)
            tick(table.num_rows)


def _cut(document: Any, length: int, borders: Sequence[int]) -> list[tuple[str, Any]]:
    """One document on the sides where it belongs; in several parts if a border lies within it."""
    sides = [SPLITS[sum(border <= 0 for border in borders)]]
    cuts = [0]
    for border in borders:
        if 0 < border < length:
            text = document.column("text")[0].as_py()
            start = cuts[-1]
            cuts.append((text.rfind("\n", start, border) + 1) or (text.rfind(" ", start, border) + 1) or border)
            sides.append(SPLITS[SPLITS.index(sides[-1]) + 1])
    if len(cuts) == 1:
        return [(sides[0], document)]
    identity = document.column("id")[0].as_py()
    parts = []
    for number, (side, start, end) in enumerate(zip(sides, cuts, [*cuts[1:], length], strict=True), start=1):
        part = with_column(with_column(document, "text", [text[start:end]]), "id", [f"{identity}/{number}"])
        parts.append((side, part))
    return parts


def _lengths(table: Any) -> list[int]:
    return pc.utf8_length(table.column("text")).to_pylist()  # type: ignore[no-any-return]


class _Sides:
    """Writes the three sides of one part, each only if something falls there, and counts."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stack = folder, ExitStack()
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
        """All rows of a row group were written somewhere."""
        for length in _lengths(table):
            self._ledger.keep(length)
        for counter, column in ((self._licences, "licence"), (self._languages, "language")):
            counter.update(table.column(column).to_pylist())
        for side, tables in self._waiting.items():
            if tables:
                self._flush(side, pa.concat_tables(tables).combine_chunks())
                tables.clear()

    def _flush(self, side: str, table: Any) -> None:
        if side not in self._writers:
            self._writers[side] = self._stack.enter_context(TableWriter(self._folder / side / part_name(0)))
        self._writers[side].write(table)
        size = pc.sum(pc.binary_length(table.column("text").cast(pa.large_binary()))).as_py()
        self._counts[side].update(documents=table.num_rows, characters=sum(_lengths(table)), bytes=size)

    def __enter__(self) -> _Sides:
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
        expected="text on each of the three sides",
        fix="read more text, or give that side a larger share",
    )
