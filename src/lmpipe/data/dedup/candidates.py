"""Which documents to compare: pairs that share a MinHash key, each once, in files of bounded size.

    part --> keys-*         (key, row), sorted by key
        `--> shingles       of every document, 8 bytes each: as much as the text and a half, for the time of this step
        `--> first.npy      where those of each row begin
    keys of all parts --> 00000.pairs  00001.pairs ...    pairs of row numbers, lower one first; a file per 65,536 lower rows
                     `--> rows                            every row that stands in a pair, sorted

Of up to nine documents that share a key every pair is taken; of more, each with its eight predecessors and with the first: for
n copies of a page that is 9 n comparisons at most instead of n^2 / 2, and they hang together all the same. Rows are numbered
through all parts, so how the documents are cut into parts shows in no pair.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmpipe.data.dedup.config import MinhashConfig
from lmpipe.data.dedup.lsh import band_keys
from lmpipe.data.dedup.marking import Layout, unmarked
from lmpipe.data.dedup.ranges import SortedWriter, merged
from lmpipe.data.dedup.shingles import Hashes, Integers, shingles_of, slices_of, words_of
from lmpipe.data.documents import rows_in, tables_of
from lmpipe.data.parts import PartTask
from lmpipe.data.tasks import Tick

KEYS, SHINGLES, FIRST = "keys", "shingles", "first.npy"
KEY = np.dtype([("key", "<u8"), ("row", "<u4")])
"""`row` counts within the part."""
PREDECESSORS = 8
SLICE_ROWS = 1 << 16


def key_part(task: PartTask, folder: Path, tick: Tick) -> None:
    """The sorted keys of one part, and its shingles: a task of `run_part_tasks`."""
    config: MinhashConfig = task.config
    writer = SortedWriter(folder, KEYS, KEY, "key")
    sizes = np.zeros(rows_in(task.part), np.int64)
    beside = [tables_of(path, ["duplicate_of"]) for path in task.beside if path]
    row = 0
    with (folder / SHINGLES).open("wb") as file:
        for table in tables_of(task.part, ["text"]):
            stays = unmarked(beside)
            rows = np.arange(row, row + table.num_rows)
            texts = table.column("text")
            if stays is not None:
                texts, rows = texts.filter(stays), rows[stays.to_numpy(zero_copy_only=False)]
            for first, some in slices_of(texts):
                shingles, first_D = shingles_of(words_of(some, config.unit), config.ngram)
                here = rows[first : first + len(some)]
                writer.add(_keys(shingles, first_D, here, config))
                sizes[here] = np.diff(first_D)
                file.write(shingles.data)
            row += table.num_rows
            tick(table.num_rows)
    np.save(folder / FIRST, np.concatenate(([0], np.cumsum(sizes))), allow_pickle=False)
    writer.close()


def _keys(shingles: Hashes, first_D: Integers, rows: Integers, config: MinhashConfig) -> npt.NDArray[np.void]:
    """Keys of the documents of one slice; one without a word has none."""
    has_words = np.flatnonzero(np.diff(first_D))
    bands, rows_per_band = config.banding()
    keys = band_keys(shingles, np.append(first_D[has_words], first_D[-1:]), bands, rows_per_band)
    found = np.empty(keys.size, KEY)
    found["key"], found["row"] = keys.reshape(-1), np.tile(rows[has_words], bands)
    return found


def find_candidates(
    layout: Layout, folders: Sequence[Path], scratch: Path, *, only_across: bool
) -> tuple[list[Path], Integers]:
    """Pairs of rows that share a key. Cheap beside reading text, so done anew after a kill.

    Args:
        layout: numbers the rows.
        folders: what `key_part` wrote of each part.
        scratch: where the pairs go.
        only_across: take only pairs of a fixed corpus's document and one of the corpus.

    Returns:
        Files of pairs, `lower << 32 | higher`, without order and repeated; and all rows in them, sorted.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    slices = [scratch / f"{number:05d}.pairs" for number in range(-(-layout.rows // SLICE_ROWS))]
    for path in slices:
        path.touch()
    in_pairs = np.zeros(layout.rows, bool)
    for together, part in merged(folders, KEYS, KEY, "key"):
        row = layout.first_P[part] + together["row"]
        order = np.lexsort((row, together["key"]))
        keys, row = together["key"][order], row[order]
        pairs = _pairs_across(keys, row, layout.first_own_row) if only_across else _pairs_of_groups(keys, row)
        for lower, higher in pairs:
            wanted = higher >= layout.first_own_row
            _scatter(lower[wanted], higher[wanted], slices)
            in_pairs[lower[wanted]] = in_pairs[higher[wanted]] = True
    return slices, np.flatnonzero(in_pairs)


def _pairs_of_groups(keys: Hashes, rows: Integers) -> Iterator[tuple[Integers, Integers]]:
    """Pairs of rows with equal keys; keys sorted, rows sorted within each."""
    same = keys[1:] == keys[:-1]
    chained = same.copy()
    for lag in range(1, PREDECESSORS + 1):
        if lag > 1:
            chained = chained[1:] & same[: len(chained) - 1]
        if not chained.any():
            return
        yield rows[:-lag][chained], rows[lag:][chained]
    far = np.flatnonzero(chained[1:] & same[: len(chained) - 1]) + PREDECESSORS + 1
    place = np.arange(len(keys))
    first = np.maximum.accumulate(np.where(np.concatenate(([False], same)), 0, place))
    yield rows[first[far]], rows[far]


def _pairs_across(keys: Hashes, rows: Integers, first_own_row: int) -> Iterator[tuple[Integers, Integers]]:
    """Pairs of a fixed corpus's row and one of the corpus: each of the corpus's with the last nine of the fixed one."""
    place = np.arange(len(keys))
    first_of_key = np.maximum.accumulate(np.where(np.concatenate(([True], keys[1:] != keys[:-1])), place, 0))
    own = np.flatnonzero(rows >= first_own_row)
    last_fixed = np.maximum.accumulate(np.where(rows < first_own_row, place, -1))[own]
    for lag in range(PREDECESSORS + 1):
        meets = last_fixed - lag >= first_of_key[own]
        yield rows[last_fixed[meets] - lag], rows[own[meets]]


def _scatter(lower: Integers, higher: Integers, slices: Sequence[Path]) -> None:
    pairs = np.unique(lower.astype(np.uint64) << np.uint64(32) | higher.astype(np.uint64))
    slice_of_pair = (pairs >> np.uint64(32)) // np.uint64(SLICE_ROWS)
    for number in np.unique(slice_of_pair).tolist():
        with slices[number].open("ab") as file:
            file.write(pairs[slice_of_pair == number].tobytes())
