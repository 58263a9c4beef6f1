"""Training text from easy to hard: the `arrange` stage. An external sort: memory follows a part, never the corpus.

    train/ (of a split) --> train/              the same documents, ordered; equal ones in the order of their ids' hashes
    validation/ test/   --> the same
                       `--> arrangement.json    {by, descending, runs}: what the loader is told
                       `--> splits.json, composition.json, ledger.json

    places of each part, sorted --> borders of equal shares --> parts in order, a row group per share --> a task per share

A document's place is one number: 40 bits of what it is ordered by (float64, relative precision 4e-9), 24 of its id's hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.data.columns import needed_for, values_of
from lmpipe.data.documents import PART_BYTES, TableWriter, opened, part_name, parts_of, tables_of
from lmpipe.data.mixing.config import CurriculumConfig
from lmpipe.data.mixing.sides import Composition, finish_side
from lmpipe.data.parts import PartTask, run_over_parts
from lmpipe.data.ranks import Keys, border, keys_of_floats
from lmpipe.data.splitting.missing import Missing
from lmpipe.data.tasks import Tick, run_tasks, save_ledger

ARRANGEMENT, KEYS, BYTES, SURVEY, SHARES = "arrangement.json", "keys.npy", "bytes.npy", "survey.json", "shares.json"
HASH_BITS = 24
OF_TEXT = ("characters", "words")


def arrange(
    split: Path,
    output: Path,
    *,
    config: CurriculumConfig,
    seed: int,
    scratch: Path,
    progress: Progress,
    workers: int,
    part_bytes: int = PART_BYTES,
) -> Ledger:
    """Order the training side of a split.

    Args:
        split: folder with `train/`, `validation/`, `test/`.
        output: an existing, empty folder.
        config: by what.
        seed: of the hash that orders equal documents.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done, three times over.
        workers: at most so many processes; changes no byte.
        part_bytes: text in one part of the result, about.

    Raises:
        SourceError: when a document has no number to be ordered by.
    """
    options: dict[str, Any] = {"workers": workers, "progress": progress}
    train = split / "train"
    surveyed = run_over_parts(_survey_part, train, (config, seed), scratch / "survey", **options)
    borders = _borders(surveyed, config, part_bytes)
    shared = run_over_parts(_share_part, train, (config, seed, borders), scratch / "shares", **options)
    tasks = [(number, tuple(shared), config, seed) for number in range(len(borders) + 1)]
    sizes = [1.0] * len(tasks)
    done = run_tasks(_gather_share, tasks, sizes, scratch / "arrange", unit="parts", **options)
    write_json(output / ARRANGEMENT, {"by": config.by, "descending": config.descending, "runs": config.runs})
    return finish_side(split, done, output, "arrange")


def _survey_part(task: PartTask, folder: Path, tick: Tick) -> None:
    config, seed = task.config
    missing, blocks, sizes = Missing(), [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for table in tables_of(task.part, ["id", "text", *needed_for(_column(config))]):
        numbers = _numbers(table, config)
        missing.look(table, [None if np.isnan(number) else number for number in numbers])
        if not missing.count:
            blocks.append(_places(table, numbers, config, seed))
            sizes.append(np.asarray(pc.binary_length(table.column("text")), np.int64))
        tick(table.num_rows)
    places = np.concatenate(blocks)
    order = np.argsort(places)
    np.save(folder / KEYS, places[order], allow_pickle=False)
    np.save(folder / BYTES, np.cumsum([0, *np.concatenate(sizes)[order]]), allow_pickle=False)
    write_json(folder / SURVEY, missing.to_json())


def _borders(surveyed: Sequence[Path], config: CurriculumConfig, part_bytes: int) -> list[int]:
    """The smallest place of every share but the first; each share has about a part of text. Equally many documents would not
    do: by characters, the last share would hold all the long ones."""
    missing = Missing()
    for folder in surveyed:
        missing.merge(Missing.from_json(read_json(folder / SURVEY)))
    if missing.count:
        raise _no_number(missing, config)
    keys, sums = ([np.load(folder / name, mmap_mode="r", allow_pickle=False) for folder in surveyed] for name in (KEYS, BYTES))
    size = sum(int(one[-1]) for one in sums)
    shares = max(1, -(-size // part_bytes))
    return sorted({border(keys, sums, number * size // shares) for number in range(1, shares)})


def _share_part(task: PartTask, folder: Path, tick: Tick) -> None:
    """One part in order, its rows of each share as a row group of their own."""
    config, seed, borders = task.config
    table = _together(list(tables_of(task.part)))
    numbers: list[int] = []
    with TableWriter(folder / part_name(0)) as writer:
        if table is not None:
            places = _places(table, _numbers(table, config), config, seed)
            order = np.argsort(places, kind="stable")
            share = np.searchsorted(np.array(borders, np.uint64), places[order], side="right")
            numbers = np.unique(share).tolist()
            for number in numbers:
                writer.write(table.take(pa.array(order[share == number])))
            tick(table.num_rows)
    write_json(folder / SHARES, numbers)


def _gather_share(task: tuple[int, tuple[Path, ...], CurriculumConfig, int], folder: Path, tick: Tick) -> None:
    """All rows of one share, in order: one part of the result."""
    number, shared, config, seed = task
    table = _together([table for one in shared for table in _rows_of(one, number)])
    ledger, composition = Ledger(), Composition()
    with TableWriter(folder / part_name(0)) as writer:
        if table is not None:
            places = _places(table, _numbers(table, config), config, seed)
            table = table.take(pa.array(np.argsort(places, kind="stable")))
            composition.add(table)
            for length in pc.utf8_length(table.column("text")).to_pylist():
                ledger.keep(length)
            writer.write_in_groups(table)
    tick(1)
    composition.save(folder)
    save_ledger(folder, ledger)


def _together(tables: list[Any]) -> Any | None:
    """One table of all, which are let go of; None where there is none."""
    if not tables:
        return None
    table = pa.concat_tables(tables).combine_chunks()
    tables.clear()  # or the text would stand in memory twice
    return table


def _rows_of(folder: Path, share: int) -> list[Any]:
    shares = read_json(folder / SHARES)
    if share not in shares:
        return []
    (part,) = parts_of(folder)
    with opened(part) as file:
        return [file.read_row_group(shares.index(share), use_threads=False)]


def _column(config: CurriculumConfig) -> str | None:
    return None if config.by in OF_TEXT else config.by


def _numbers(table: Any, config: CurriculumConfig) -> npt.NDArray[np.float64]:
    """What each document is ordered by; NaN where there is no number."""
    if config.by == "characters":
        return np.asarray(pc.utf8_length(table.column("text")), np.float64)
    if config.by == "words":
        return np.array([len(text.split()) for text in table.column("text").to_pylist()], np.float64)
    return np.array([_number(value) for value in values_of(table, config.by)], np.float64)


def _number(value: str | None) -> float:
    try:
        return float(value) if value is not None else np.nan
    except ValueError:
        return np.nan


def _places(table: Any, numbers: npt.NDArray[np.float64], config: CurriculumConfig, seed: int) -> Keys:
    keys = keys_of_floats(numbers)
    keys = ~keys if config.descending else keys
    hashes = np.array([derive_seed(seed, "arrange", identity) for identity in table.column("id").to_pylist()], np.uint64)
    low = np.uint64((1 << HASH_BITS) - 1)
    return (keys & ~low) | (hashes & low)


def _no_number(missing: Missing, config: CurriculumConfig) -> SourceError:
    return SourceError(
        f"{missing.count} training documents have no number in '{config.by}': {', '.join(missing.ids)}",
        where="curriculum",
        expected="`characters`, `words`, or a column of numbers that every document has",
        fix="keep the column (`meta_columns` of the source), or order by characters",
    )
