"""Sorted files of keys, merged range by range: what brings equal keys of all parts together in bounded memory.

    00000/keys-0000, keys-0001 ...  00001/keys-0000 ...   each sorted by its key, at most some 8 MB
      --> all rows whose key lies in one range, range after range

Ranges are so many that about `RANGE_ROWS` rows are held at a time; how many ranges and files there are shows in no result.
Knows keys and rows, not what they stand for. Keys must be spread evenly, as hashes are.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmpipe.base.files import storing

RANGE_ROWS = 1 << 18
MOST_RANGES = 1 << 14
FILE_ROWS = 1 << 19


class SortedWriter:
    """Writes rows into files of bounded size, each sorted by `key`; rows of one key stay in the order in which they came."""

    def __init__(self, folder: Path, name: str, kind: np.dtype[np.void], key: str) -> None:
        self._folder, self._name, self._kind, self._key = folder, name, kind, key
        self._blocks: list[npt.NDArray[np.void]] = []
        self._rows = self._files = 0

    def add(self, rows: npt.NDArray[np.void]) -> None:
        """Some more rows."""
        self._blocks.append(rows)
        self._rows += len(rows)
        if self._rows >= FILE_ROWS:
            self.close()

    def close(self) -> None:
        """Write what waits."""
        if self._rows:
            rows = np.concatenate(self._blocks)
            path = self._folder / f"{self._name}-{self._files:04d}"
            with storing(path):
                rows[np.argsort(rows[self._key], kind="stable")].tofile(path)
            self._files += 1
        self._blocks, self._rows = [], 0


def merged(
    folders: Sequence[Path], name: str, kind: np.dtype[np.void], key: str
) -> Iterator[tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]]:
    """For each range of keys: its rows, and the number of the folder that each comes from; folders in their order.

    Args:
        folders: where `SortedWriter`s wrote.
        name: that they were given.
        kind: of the rows.
        key: the field that is merged by: an unsigned 64-bit number.
    """
    files = [(number, file) for number, folder in enumerate(folders) for file in sorted(folder.glob(f"{name}-*"))]
    rows = sum(file.stat().st_size // kind.itemsize for _, file in files)
    bits = min(max(rows // RANGE_ROWS, 1).bit_length(), MOST_RANGES.bit_length() - 1)
    cuts = [_cuts(file, kind, key, bits) for _, file in files]
    for number in range(1 << bits):
        slices = [_read(file, kind, cut[number], cut[number + 1]) for (_, file), cut in zip(files, cuts, strict=True)]
        owner = np.repeat(np.array([owner for owner, _ in files], np.int64), [len(some) for some in slices])
        if len(owner):
            yield np.concatenate(slices), owner


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
