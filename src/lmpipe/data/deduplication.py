"""Documents that repeat an earlier one: the `duplicates` stage, exact on normalised text.

    part-*.parquet --> part-*.parquet     id, duplicate_of: the id of the first equal document, null for that one itself
                  `--> ledger.json        survivors are kept, the others dropped{exact duplicate}

Equal means equal 128-bit hashes of the normalised text (two different texts meet with a chance of 1e-18 among 10^10 documents).
Of equal documents the first in the order of the corpus survives, whatever the number of workers.

Beyond memory: each part's hashes are sorted into a file; then one of 256 ranges of hashes is held at a time; then ids travel
from the survivor's part to the duplicate's part through files. Memory follows the largest range: 40 bytes for each of its rows.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.config import ExactConfig
from lmpipe.data.documents import TableWriter, part_name, parts_of, tables_of
from lmpipe.data.parts import PartTask, finish, run_over_parts, run_part_tasks
from lmpipe.data.tasks import Tick, save_ledger

REASON = "exact duplicate"
SCHEMA = pa.schema([("id", pa.string()), ("duplicate_of", pa.string())])
HASHES = "hashes.npy"
RANGES = 256
HASH = np.dtype([("high", "<u8"), ("low", "<u8"), ("row", "<i8")])
"""`row` counts within the part."""
PAIR = np.dtype([("row", "<i8"), ("duplicate_part", "<i8"), ("duplicate_row", "<i8")])
"""`row` is the survivor's, within its part."""


def mark_duplicates(
    documents: Path, output: Path, *, config: ExactConfig, scratch: Path, progress: Progress, workers: int
) -> Ledger:
    """Find every document that repeats an earlier one.

    Args:
        documents: folder with parts of documents.
        output: an existing, empty folder.
        config: what counts as equal.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done.
        workers: at most so many processes; changes no byte.
    """
    hashed = run_over_parts(_hash_part, documents, config, scratch / "hashes", workers=workers, progress=progress)
    parts = parts_of(documents)
    names = _names_of_survivors(parts, hashed, scratch / "pairs")
    tasks = [PartTask(part, None, (name,)) for part, name in zip(parts, names, strict=True)]
    marked = run_part_tasks(_mark_part, tasks, scratch / "marks", workers=workers, progress=progress)
    return finish(marked, output, "duplicates")


def normalised(text: str, config: ExactConfig) -> str:
    """What of a text counts when it is compared."""
    text = text.casefold() if config.ignore_case else text
    return " ".join(text.split()) if config.ignore_white_space else text


def _hash_part(task: PartTask, folder: Path, tick: Tick) -> None:
    """The sorted hashes of one part."""
    blocks = []
    for table in tables_of(task.part, ["text"]):
        texts = (normalised(text, task.config) for text in table.column("text").to_pylist())
        digests = b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts)
        blocks.append(np.frombuffer(digests, dtype=[("high", "<u8"), ("low", "<u8")]))
        tick(table.num_rows)
    hashes = np.concatenate(blocks) if blocks else np.empty(0, dtype=HASH)
    found = np.empty(len(hashes), dtype=HASH)
    found["high"], found["low"], found["row"] = hashes["high"], hashes["low"], np.arange(len(hashes))
    np.save(folder / HASHES, found[np.lexsort((found["row"], found["low"], found["high"]))], allow_pickle=False)


def _names_of_survivors(parts: Sequence[Path], hashed: Sequence[Path], scratch: Path) -> list[Path]:
    """For every part, a file of JSON lines [row, id of the survivor]. Cheap beside reading text, so done anew after a kill."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    pair_files = [scratch / f"{number:05d}.pairs" for number in range(len(parts))]
    name_files = [scratch / f"{number:05d}.names" for number in range(len(parts))]
    for path in (*pair_files, *name_files):
        path.touch()
    for survivor_part, pairs in _pairs([folder / HASHES for folder in hashed]):
        with pair_files[survivor_part].open("ab") as file:
            file.write(pairs.tobytes())
    for part, path in zip(parts, pair_files, strict=True):
        pairs = np.fromfile(path, dtype=PAIR)
        if len(pairs):
            _send_names(part, pairs, name_files)
    return name_files


def _pairs(files: Sequence[Path]) -> Iterator[tuple[int, npt.NDArray[np.void]]]:
    """(part of the survivors, their duplicates), range of hashes by range."""
    hashes = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
    borders = np.arange(RANGES, dtype=np.uint64) << np.uint64(64 - 8)
    cuts = [[*np.searchsorted(part["high"], borders), len(part)] for part in hashes]
    for number in range(RANGES):
        slices = [part[cut[number] : cut[number + 1]] for part, cut in zip(hashes, cuts, strict=True)]
        yield from _pairs_of_range(slices)


def _pairs_of_range(slices: Sequence[npt.NDArray[np.void]]) -> Iterator[tuple[int, npt.NDArray[np.void]]]:
    together = np.concatenate(slices)
    part = np.repeat(np.arange(len(slices)), [len(one) for one in slices])
    order = np.lexsort((together["row"], part, together["low"], together["high"]))
    together, part = together[order], part[order]
    repeats = np.zeros(len(together), bool)
    repeats[1:] = (together["high"][1:] == together["high"][:-1]) & (together["low"][1:] == together["low"][:-1])
    if not repeats.any():
        return
    first = np.maximum.accumulate(np.where(repeats, 0, np.arange(len(together))))[repeats]
    pairs = np.empty(len(first), dtype=PAIR)
    pairs["row"], pairs["duplicate_part"], pairs["duplicate_row"] = (
        together["row"][first],
        part[repeats],
        together["row"][repeats],
    )
    for survivor_part in np.unique(part[first]):
        yield int(survivor_part), pairs[part[first] == survivor_part]


def _send_names(part: Path, pairs: npt.NDArray[np.void], name_files: Sequence[Path]) -> None:
    """Look up the ids of one part's survivors and write them where their duplicates are."""
    ids = pa.concat_arrays([column for table in tables_of(part, ["id"]) for column in table.column("id").chunks])
    lines: dict[int, list[str]] = defaultdict(list)
    names = ids.take(pa.array(pairs["row"].astype(np.int64))).to_pylist()
    for name, target, row in zip(names, pairs["duplicate_part"].tolist(), pairs["duplicate_row"].tolist(), strict=True):
        lines[target].append(json.dumps([row, name]) + "\n")
    for target, found in lines.items():
        with name_files[target].open("a", encoding="utf-8") as file:
            file.writelines(found)


def _mark_part(task: PartTask, folder: Path, tick: Tick) -> None:
    ledger = Ledger()
    names = task.beside[0]
    survivors: dict[int, str] = dict(map(json.loads, names.read_text(encoding="utf-8").splitlines())) if names else {}
    row = 0
    with TableWriter(folder / part_name(0), SCHEMA) as writer:
        for table in tables_of(task.part, ["id", "text"]):
            found = [survivors.get(number) for number in range(row, row + table.num_rows)]
            for length, survivor in zip(pc.utf8_length(table.column("text")).to_pylist(), found, strict=True):
                if survivor is None:
                    ledger.keep(length)
                else:
                    ledger.drop(REASON, length)
            writer.write(pa.table([table.column("id").combine_chunks(), pa.array(found, pa.string())], schema=SCHEMA))
            row += table.num_rows
            tick(table.num_rows)
    save_ledger(folder, ledger)
