"""From pairs of row numbers to sidecars: what exact, near and semantic duplicates have in common.

    (survivor, duplicate)  --> part-*.parquet   id, duplicate_of, similarity, threshold; aligned with the documents
                          `--> clusters.json    how many clusters of which size; the ten largest with members
                          `--> ledger.json      survivors are kept, the others dropped{reason}

Rows are numbered through all parts: first those of the fixed corpora that a corpus is compared with, whose documents always
stay, then the corpus's own, in their order. Of a cluster the lowest number stays, so the number of workers and the size of
parts show nowhere. Ids travel from the survivor's part to the duplicate's through files, so no table of all ids is ever held.
"""

from __future__ import annotations

import heapq
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.base.files import write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.documents import TableWriter, part_name, parts_of, rows_in, tables_of
from lmpipe.data.parts import PartTask, finish, run_part_tasks
from lmpipe.data.tasks import Tick, save_ledger

SCHEMA = pa.schema(
    [("id", pa.string()), ("duplicate_of", pa.string()), ("similarity", pa.float64()), ("threshold", pa.float64())]
)
"""`duplicate_of` is null where a document stays; of a fixed corpus it is `name/id`. `similarity` is null where texts are
equal."""
CLUSTERS = "clusters.json"
LARGEST = 10
SHOWN_MEMBERS = 20
EARLIER = "duplicate by an earlier step"
PAIR = np.dtype([("survivor", "<i8"), ("duplicate", "<i8"), ("similarity", "<f8")])
"""Row numbers through all parts; NaN where texts are equal."""


@dataclass(frozen=True)
class Layout:
    """All parts in the order in which documents take precedence."""

    parts: list[Path]
    first_P: npt.NDArray[np.int64]
    """Number of the first row of each part, and of the row after the last."""
    names: list[str]
    """Name of the fixed corpus that a part belongs to; empty for the corpus's own."""
    beside: list[tuple[Path, ...]]
    """Sidecars of earlier steps, part by part: what they marked is not looked at again."""

    @property
    def own(self) -> int:
        """How many parts belong to fixed corpora: the corpus's own follow."""
        return sum(map(bool, self.names))

    @property
    def first_own_row(self) -> int:
        """Number of the corpus's own first row."""
        return int(self.first_P[self.own])

    @property
    def rows(self) -> int:
        """Documents in all parts."""
        return int(self.first_P[-1])

    def parts_with(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The number of the part that holds each row."""
        return np.searchsorted(self.first_P, rows, side="right") - 1


def lay_out(documents: Path, against: Mapping[str, Path], earlier: Sequence[Path]) -> Layout:
    """Number the rows of a corpus after those of the corpora that it is compared with.

    Args:
        documents: folder with parts of documents.
        against: folders of fixed corpora, by name.
        earlier: sidecars of `documents` that earlier steps made.
    """
    found: list[tuple[str, Path, tuple[Path, ...]]] = []
    found += [(name, part, ()) for name, folder in against.items() for part in parts_of(folder)]
    found += [("", part, tuple(folder / part.name for folder in earlier)) for part in parts_of(documents)]
    first_P = np.concatenate(([0], np.cumsum([rows_in(part) for _, part, _ in found], dtype=np.int64)))
    names, parts, beside = zip(*found, strict=True)
    return Layout(list(parts), first_P, list(names), list(beside))


def unmarked(beside: Sequence[Any]) -> Any:
    """Which rows of a row group no earlier step marked: the next tables of the sidecars, joined; None where there are none.

    Args:
        beside: iterators over the sidecars' tables.
    """
    marks = [pc.is_null(next(tables).column("duplicate_of")).combine_chunks() for tables in beside]
    stays = marks[0] if marks else None
    for mark in marks[1:]:
        stays = pc.and_(stays, mark)
    return stays


@dataclass
class Clusters:
    """Sizes of clusters, and the largest of them."""

    sizes: Counter[int] = field(default_factory=Counter)
    _largest: list[tuple[int, int]] = field(default_factory=list)

    def add(self, pairs: npt.NDArray[np.void]) -> None:
        """Count clusters; all pairs of one survivor must come in one call."""
        survivors, duplicates = np.unique(pairs["survivor"], return_counts=True)
        self.sizes.update((duplicates + 1).tolist())
        most = np.argsort(-duplicates, kind="stable")[:LARGEST]
        found = zip((duplicates[most] + 1).tolist(), (-survivors[most]).tolist(), strict=True)
        self._largest = heapq.nlargest(LARGEST, [*self._largest, *found])

    def largest(self) -> list[tuple[int, int]]:
        """(size, row of the survivor) of the ten largest, the largest and first one first."""
        return [(size, -row) for size, row in self._largest]


def mark(
    layout: Layout,
    pairs: Iterable[npt.NDArray[np.void]],
    output: Path,
    *,
    reason: str,
    threshold: float | None,
    scratch: Path,
    progress: Progress,
    workers: int,
) -> Ledger:
    """Write the sidecars of a corpus.

    Args:
        layout: its parts and those that it was compared with.
        pairs: arrays of `PAIR`, all pairs of one survivor in one array, each duplicate once.
        output: an existing, empty folder.
        reason: what the ledger calls a duplicate.
        threshold: that was applied; None where texts had to be equal.
        scratch: for this step alone.
        progress: told documents done.
        workers: at most so many processes; changes no byte.
    """
    clusters = Clusters()
    named = _name_survivors(layout, _counted(pairs, clusters), scratch / "pairs")
    own = slice(layout.own, None)
    tasks = [
        PartTask(part, (reason, threshold), (names, *beside))
        for part, names, beside in zip(layout.parts[own], named[own], layout.beside[own], strict=True)
    ]
    marked = run_part_tasks(_mark_part, tasks, scratch / "marks", workers=workers, progress=progress)
    ledger = finish(marked, output, "duplicates")
    write_json(output / CLUSTERS, _described(layout, clusters, output))
    return ledger


def _counted(pairs: Iterable[npt.NDArray[np.void]], clusters: Clusters) -> Iterable[npt.NDArray[np.void]]:
    for some in pairs:
        clusters.add(some)
        yield some


def _name_survivors(layout: Layout, pairs: Iterable[npt.NDArray[np.void]], scratch: Path) -> list[Path]:
    """For every part, a file of JSON lines [row, id of the survivor, similarity]. Cheap beside reading text, so done anew after
    a kill."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    pair_files = [scratch / f"{number:05d}.pairs" for number in range(len(layout.parts))]
    name_files = [scratch / f"{number:05d}.names" for number in range(len(layout.parts))]
    for path in (*pair_files, *name_files):
        path.touch()
    for some in pairs:
        part_of_survivor = layout.parts_with(some["survivor"])
        for number in np.unique(part_of_survivor).tolist():
            with pair_files[number].open("ab") as file:
                file.write(some[part_of_survivor == number].tobytes())
    for number, path in enumerate(pair_files):
        some = np.fromfile(path, dtype=PAIR)
        if len(some):
            _send_names(layout, number, some, name_files)
    return name_files


def _send_names(layout: Layout, number: int, pairs: npt.NDArray[np.void], name_files: Sequence[Path]) -> None:
    """Look up the ids of one part's survivors and write them where their duplicates are."""
    names = _names(layout, number, pairs["survivor"])
    targets = layout.parts_with(pairs["duplicate"])
    rows = pairs["duplicate"] - layout.first_P[targets]
    lines: dict[int, list[str]] = defaultdict(list)
    for name, target, row, similarity in zip(names, targets.tolist(), rows.tolist(), pairs["similarity"].tolist(), strict=True):
        known = None if similarity != similarity else similarity
        lines[target].append(json.dumps([row, name, known]) + "\n")
    for target, found in lines.items():
        with name_files[target].open("a", encoding="utf-8") as file:
            file.writelines(found)


def names_of(layout: Layout, rows: npt.NDArray[np.int64]) -> list[str]:
    """Ids of some rows, without the names of corpora."""
    found = np.empty(len(rows), object)
    part_of_row = layout.parts_with(rows)
    for number in np.unique(part_of_row).tolist():
        here = part_of_row == number
        found[here] = _ids(layout, number, rows[here])
    return found.tolist()


def _names(layout: Layout, number: int, rows: npt.NDArray[np.int64]) -> list[str]:
    """Ids of some rows of one part."""
    corpus = layout.names[number]
    found = _ids(layout, number, rows)
    return [f"{corpus}/{name}" for name in found] if corpus else found


def _ids(layout: Layout, number: int, rows: npt.NDArray[np.int64]) -> list[str]:
    ids = pa.concat_arrays([column for t in tables_of(layout.parts[number], ["id"]) for column in t.column("id").chunks])
    return ids.take(pa.array(rows - layout.first_P[number])).to_pylist()  # type: ignore[no-any-return]


def _mark_part(task: PartTask, folder: Path, tick: Tick) -> None:
    ledger, (reason, threshold) = Ledger(), task.config
    names, *sidecars = task.beside
    assert names is not None
    lines = map(json.loads, names.read_text(encoding="utf-8").splitlines())
    found = {row: (name, similarity) for row, name, similarity in lines}
    beside = [tables_of(path, ["duplicate_of"]) for path in sidecars if path]
    row = 0
    with TableWriter(folder / part_name(0), SCHEMA) as writer:
        for table in tables_of(task.part, ["id", "text"]):
            marks = [found.get(number, (None, None)) for number in range(row, row + table.num_rows)]
            stays = unmarked(beside)
            _book(ledger, table, marks, stays.to_pylist() if stays is not None else [True] * table.num_rows, reason)
            columns = [[name for name, _ in marks], [similarity for _, similarity in marks]]
            columns.append([threshold if name else None for name, _ in marks])
            writer.write(pa.table([table.column("id").combine_chunks(), *columns], schema=SCHEMA))
            row += table.num_rows
            tick(table.num_rows)
    save_ledger(folder, ledger)


def _book(ledger: Ledger, table: Any, marks: Sequence[tuple[str | None, Any]], stays: Sequence[bool], reason: str) -> None:
    lengths = pc.utf8_length(table.column("text")).to_pylist()
    for length, (survivor, _), unmarked_before in zip(lengths, marks, stays, strict=True):
        if survivor is not None or not unmarked_before:
            ledger.drop(EARLIER if survivor is None else reason, length)
        else:
            ledger.keep(length)


def _described(layout: Layout, clusters: Clusters, output: Path) -> dict[str, Any]:
    """What `clusters.json` says. Members are looked up in the sidecars just written, so only those shown are ever held."""
    members: dict[str, list[str]] = {}
    for _, row in clusters.largest():
        number = int(layout.parts_with(np.array([row]))[0])
        members[_names(layout, number, np.array([row]))[0]] = []
    for part in parts_of(output) if members else ():
        for table in tables_of(part, ["id", "duplicate_of"]):
            chosen = table.filter(pc.is_in(table.column("duplicate_of"), value_set=pa.array(list(members), pa.string())))
            for name, survivor in zip(*(chosen.column(c).to_pylist() for c in ("id", "duplicate_of")), strict=True):
                if len(members[survivor]) < SHOWN_MEMBERS:
                    members[survivor].append(name)
    shown = [
        {"survivor": survivor, "size": size, "duplicates": duplicates}
        for (size, _), (survivor, duplicates) in zip(clusters.largest(), members.items(), strict=True)
    ]
    sizes = {str(size): count for size, count in sorted(clusters.sizes.items())}
    duplicates = sum((size - 1) * count for size, count in clusters.sizes.items())
    return {"clusters": clusters.sizes.total(), "duplicates": duplicates, "sizes": sizes, "largest": shown}
