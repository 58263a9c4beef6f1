"""Sorted files of keys, merged range by range: what brings equal keys of all parts together in bounded memory.

    00000.keys  00001.keys ...   each sorted by its key   -->   all rows whose key lies in one range, range after range

Ranges are so many that about `RANGE_ROWS` rows are held at a time; how many there are shows in no result. Knows keys and rows,
not what they stand for. Keys must be spread evenly, as hashes are.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

RANGE_ROWS = 1 << 18
MOST_RANGES = 1 << 14


def write_sorted(path: Path, rows: npt.NDArray[np.void], key: str) -> None:
    """Write rows sorted by `key`; rows of one key stay in the order given."""
    rows[np.argsort(rows[key], kind="stable")].tofile(path)


def merged(
    files: Sequence[Path], kind: np.dtype[np.void], key: str
) -> Iterator[tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]]:
    """For each range of keys: its rows, and the number of the file that each comes from; files in their order.

    Args:
        files: as `write_sorted` wrote them.
        kind: of the rows.
        key: the field that is merged by: an unsigned 64-bit number.
    """
    counts = [file.stat().st_size // kind.itemsize for file in files]
    bits = min(max(sum(counts) // RANGE_ROWS, 1).bit_length(), MOST_RANGES.bit_length() - 1)
    cuts = [
        _cuts(file, kind, key, bits) if count else [0] * ((1 << bits) + 1) for file, count in zip(files, counts, strict=True)
    ]
    for number in range(1 << bits):
        slices = [_read(file, kind, cut[number], cut[number + 1]) for file, cut in zip(files, cuts, strict=True)]
        part = np.repeat(np.arange(len(files)), [len(one) for one in slices])
        if len(part):
            yield np.concatenate(slices), part


def _cuts(file: Path, kind: np.dtype[np.void], key: str, bits: int) -> list[int]:
    rows = np.memmap(file, kind, mode="r")
    borders = np.arange(1 << bits, dtype=np.uint64) << np.uint64(64 - bits)
    return [*np.searchsorted(rows[key], borders).tolist(), len(rows)]


def _read(file: Path, kind: np.dtype[np.void], start: int, end: int) -> npt.NDArray[np.void]:
    return np.fromfile(file, kind, end - start, offset=start * kind.itemsize) if end > start else np.empty(0, kind)


def scatter(found: Iterable[tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]], parts: int, scratch: Path) -> list[Path]:
    """Send rows to the parts that they belong to: one file for each. Cheap beside reading text, so done anew after a kill.

    Args:
        found: rows, and the number of the part of each.
        parts: how many there are.
        scratch: where the files go.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    files = [scratch / f"{number:05d}" for number in range(parts)]
    for file in files:
        file.touch()
    for rows, part in found:
        for number in np.unique(part).tolist():
            with files[number].open("ab") as file:
                file.write(rows[part == number].tobytes())
    return files
