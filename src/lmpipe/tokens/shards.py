"""Token shards: ids of documents on disk, memory-mapped, with a small header.

    shards.json                format, version, dtype, vocab_size, end_of_text_id, controls, totals, and the list of shards
    shard-00000.bin            little-endian ids, documents one after another, each closed by end-of-text
    shard-00000.documents.bin  little-endian int64 pairs per document: end offset in tokens, UTF-8 bytes of its text (as ~bytes,
                               a negative number, where the text does not come back from the tokens)

Promises: opening checks the header and every file's size, so a cut-off file is noticed before anything is computed from it; the
bytes themselves are the store's digests to check. A document never spans two shards. Writing needs the memory of one document.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import DamagedError, ModelError
from lmpipe.base.files import read_json, storing, sync_tree, write_json
from lmpipe.tokens.controls import Controls

FORMAT = "lmpipe-tokens"
VERSION = 1
SHARD_TOKENS = 1 << 26
"""A shard is closed when it has this many tokens: 128 MiB as uint16, a size that object stores and copies handle well."""
INDEX_TYPE = np.dtype("<i8")


def token_type(vocab_size: int) -> np.dtype[Any]:
    """The smallest type of ids: two bytes up to 65,536 of them, else four."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


class ShardWriter:
    """Writes documents into a folder, in the order in which they come. A context manager: leaving it writes the header."""

    def __init__(
        self,
        folder: Path,
        *,
        vocab_size: int,
        end_of_text_id: int,
        controls: Controls | None = None,
        shard_tokens: int = SHARD_TOKENS,
        runs: int = 1,
    ) -> None:
        self.folder = folder
        self.vocab_size = vocab_size
        self.end_of_text_id = end_of_text_id
        self.controls = controls
        self.shard_tokens = shard_tokens
        self.runs = runs
        self.dtype = token_type(vocab_size)
        self._end = np.array([end_of_text_id], self.dtype)
        self.shards: list[dict[str, Any]] = []
        self.bytes = 0
        self._open: _OpenShard | None = None

    def append(self, ids: Sequence[int] | NDArray[Any], text_bytes: int, *, comes_back: bool = True) -> None:
        """Add one document: the ids of its text without the closing end-of-text, the UTF-8 bytes of its text, and whether the
        ids give exactly this text."""
        with storing(self.folder):
            if self._open is None:
                self._open = _OpenShard(self.folder, len(self.shards))
            self._open.write(np.append(np.asarray(ids, self.dtype), self._end), text_bytes if comes_back else ~text_bytes)
            self.bytes += text_bytes
            if self._open.tokens >= self.shard_tokens:
                self._close_shard()

    def totals(self) -> dict[str, int]:
        """Documents, tokens (end-of-text included) and UTF-8 bytes that were closed into shards."""
        return {
            "documents": sum(shard["documents"] for shard in self.shards),
            "tokens": sum(shard["tokens"] for shard in self.shards),
            "bytes": self.bytes,
        }

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with storing(self.folder):
            self._close_shard()
        if kind is not None:
            return  # no header: the folder stays recognisably unfinished
        header = {
            "format": FORMAT,
            "version": VERSION,
            "dtype": "uint16" if self.dtype.itemsize == 2 else "uint32",
            "vocab_size": self.vocab_size,
            "end_of_text_id": self.end_of_text_id,
            **({"controls": self.controls.to_json()} if self.controls else {}),
            **self.totals(),
            **({"runs": self.runs} if self.runs > 1 else {}),
            "shards": self.shards,
        }
        sync_tree(self.folder)
        write_json(self.folder / "shards.json", header)

    def _close_shard(self) -> None:
        if self._open is not None:
            self.shards.append(self._open.close())
            self._open = None


class _OpenShard:
    """The two files of the shard that is being written."""

    def __init__(self, folder: Path, number: int) -> None:
        self.name = f"shard-{number:05d}.bin"
        self.tokens = self.documents = 0
        self._ids: IO[bytes] = (folder / self.name).open("wb")
        self._index: IO[bytes] = (folder / _index_name(self.name)).open("wb")

    def write(self, ids: NDArray[Any], text_bytes: int) -> None:
        self.tokens += len(ids)
        self.documents += 1
        self._ids.write(ids.tobytes())
        self._index.write(np.array([self.tokens, text_bytes], dtype=INDEX_TYPE).tobytes())

    def close(self) -> dict[str, Any]:
        self._ids.close()
        self._index.close()
        return {"file": self.name, "tokens": self.tokens, "documents": self.documents}


@dataclass(frozen=True)
class _Shard:
    """One memory-mapped shard."""

    ids: NDArray[Any]
    """(tokens,)"""
    index_D2: NDArray[np.int64]
    """(documents, 2): end offset in tokens, UTF-8 bytes."""


class TokenShards:
    """A folder of token shards, read through memory maps: only what is touched is loaded.

    Tokens and documents are numbered through all shards. Slices and documents are views where they lie in one shard.
    """

    def __init__(self, folder: Path) -> None:
        """Open `folder`.

        Raises:
            ModelError: when it holds no token shards, or those of another version.
            DamagedError: when a file is missing or its size is not the header's.
        """
        self.folder = folder
        header = _header(folder)
        self.vocab_size: int = header["vocab_size"]
        self.end_of_text_id: int = header["end_of_text_id"]
        self.controls = Controls.of_header(header)
        self.tokens: int = header["tokens"]
        self.documents: int = header["documents"]
        self.bytes: int = header["bytes"]
        self.runs: int = header.get("runs", 1)
        """In how many runs an epoch goes through them (`Loader`): more than one where the documents' order counts."""
        self.corpora: list[Corpus] = [Corpus(**corpus) for corpus in header.get("corpora", [])]
        """Of a mixture, the corpora that stand one after another; else nothing."""
        self.dtype = np.dtype("<u2") if header["dtype"] == "uint16" else np.dtype("<u4")
        self._shards = [_mapped(folder, shard, self.dtype) for shard in header["shards"]]
        self._token_starts = _starts([shard["tokens"] for shard in header["shards"]])
        self._document_starts = _starts([shard["documents"] for shard in header["shards"]])
        if (self._token_starts[-1], self._document_starts[-1]) != (self.tokens, self.documents):
            raise DamagedError(
                f"the header counts {self.tokens:,} tokens in {self.documents:,} documents, its shards "
                f"{self._token_starts[-1]:,} in {self._document_starts[-1]:,}",
                where=str(folder / "shards.json"),
                expected="equal counts",
                fix=REMOVE_AND_REPEAT,
            )

    def slice(self, start: int, stop: int) -> NDArray[Any]:
        """Tokens `start` to `stop` of all, shape (stop - start,), in the dtype on disk.

        Raises:
            IndexError: outside [0, tokens].
        """
        if not 0 <= start <= stop <= self.tokens:
            raise IndexError(f"tokens {start}:{stop} of {self.tokens}")
        parts = []
        number = self._shard_of(self._token_starts, start)
        while start < stop:
            first = self._token_starts[number]
            ids = self._shards[number].ids[start - first : stop - first]
            parts.append(ids)
            start += len(ids)
            number += 1
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty(0, self.dtype)

    def document(self, index: int) -> NDArray[Any]:
        """The ids of one document, its closing end-of-text included.

        Raises:
            IndexError: outside [0, documents).
        """
        shard, row = self._locate(index)
        start = shard.index_D2[row - 1, 0] if row else 0
        return shard.ids[start : shard.index_D2[row, 0]]

    def document_lengths(self) -> NDArray[np.int64]:
        """Tokens of every document, its closing end-of-text included; shape (documents,)."""
        ends = [np.diff(shard.index_D2[:, 0], prepend=0) for shard in self._shards]
        return np.concatenate(ends).astype(np.int64) if ends else np.empty(0, np.int64)

    def document_bytes(self, index: int) -> int:
        """UTF-8 bytes of the text of one document.

        Raises:
            IndexError: outside [0, documents).
        """
        shard, row = self._locate(index)
        size = int(shard.index_D2[row, 1])
        return size if size >= 0 else ~size

    def comes_back(self, index: int) -> bool:
        """Whether the text of one document comes back from its tokens.

        Raises:
            IndexError: outside [0, documents).
        """
        shard, row = self._locate(index)
        return bool(shard.index_D2[row, 1] >= 0)

    def iter_documents(self) -> Iterator[NDArray[Any]]:
        """Every document's ids in turn."""
        return (self.document(index) for index in range(self.documents))

    def _locate(self, index: int) -> tuple[_Shard, int]:
        if not 0 <= index < self.documents:
            raise IndexError(f"document {index} of {self.documents}")
        number = self._shard_of(self._document_starts, index)
        return self._shards[number], index - self._document_starts[number]

    @staticmethod
    def _shard_of(starts: list[int], index: int) -> int:
        if len(starts) <= 2:
            return 0
        return int(np.searchsorted(np.asarray(starts), index, side="right")) - 1


@dataclass(frozen=True)
class Corpus:
    """One corpus of a mixture: a stretch of the shards."""

    name: str
    tokens: int
    share: float
    """Of the training tokens, so many come from it."""
    runs: int


class TokenRange:
    """A stretch of shards, numbered from 0."""

    def __init__(self, shards: TokenShards, start: int, stop: int, runs: int) -> None:
        self.shards, self.start, self.tokens, self.runs = shards, start, stop - start, runs
        self.folder = shards.folder
        self.end_of_text_id = shards.end_of_text_id
        self.controls = shards.controls

    def slice(self, start: int, stop: int) -> NDArray[Any]:
        """As `TokenShards.slice`, within the stretch."""
        if not 0 <= start <= stop <= self.tokens:
            raise IndexError(f"tokens {start}:{stop} of {self.tokens}")
        return self.shards.slice(self.start + start, self.start + stop)


REMOVE_AND_REPEAT = "remove this stage's folder from the store; the same command then computes it again"


def write_totals(output: Path, totals: Mapping[str, Mapping[str, Any]], **facts: int) -> dict[str, Any]:
    """Write `tokens.json`: facts of the tokenizer, what each side has, and the sums over them; it comes back."""
    sums = {unit: sum(side[unit] for side in totals.values()) for unit in ("documents", "tokens", "bytes")}
    summary = {**facts, "splits": totals, **sums}
    write_json(output / "tokens.json", summary)
    return summary


def open_shards(folder: Path) -> TokenShards:
    """The token shards in `folder`; errors as in `TokenShards`."""
    return TokenShards(folder)


def copy_shard(source: Path, entry: dict[str, Any], target: Path, number: int) -> dict[str, Any]:
    """Copy one shard, by its entry in the header, under another number; return its new entry."""
    name = f"shard-{number:05d}.bin"
    for old, new in ((entry["file"], name), (_index_name(entry["file"]), _index_name(name))):
        shutil.copyfile(source / old, target / new)
    return {**entry, "file": name}


def _index_name(name: str) -> str:
    return name.removesuffix(".bin") + ".documents.bin"


def _starts(counts: list[int]) -> list[int]:
    """Where each shard begins among all, and the total as the last."""
    starts = [0]
    for count in counts:
        starts.append(starts[-1] + count)
    return starts


def _header(folder: Path) -> dict[str, Any]:
    path = folder / "shards.json"
    if not path.exists():
        raise ModelError("there are no token shards", where=str(path), expected="a folder that the tokenize stage wrote")
    try:
        header = read_json(path)
    except ValueError as error:
        raise DamagedError(f"the header cannot be read: {error}", where=str(path), fix=REMOVE_AND_REPEAT) from error
    if not isinstance(header, dict) or (header.get("format"), header.get("version")) != (FORMAT, VERSION):
        found = f"{header.get('format')} {header.get('version')}" if isinstance(header, dict) else type(header).__name__
        raise ModelError(
            f"the header says {found}",
            where=str(path),
            expected=f"{FORMAT} {VERSION}",
            fix="tokenize again with this version of lmpipe",
        )
    return header


def _mapped(folder: Path, entry: dict[str, Any], dtype: np.dtype[Any]) -> _Shard:
    ids = _map(folder / entry["file"], dtype, entry["tokens"])
    index = _map(folder / _index_name(entry["file"]), INDEX_TYPE, 2 * entry["documents"]).reshape(-1, 2)
    if len(index) and index[-1, 0] != len(ids):
        raise DamagedError(
            f"the documents end at token {index[-1, 0]:,}, the shard at {len(ids):,}",
            where=str(folder / entry["file"]),
            expected="equal ends",
            fix=REMOVE_AND_REPEAT,
        )
    return _Shard(ids, index)


def _map(path: Path, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    expected = count * dtype.itemsize
    size = path.stat().st_size if path.exists() else None
    if size != expected:
        raise DamagedError(
            f"{path.name} is missing" if size is None else f"{path.name} has {size:,} bytes",
            where=str(path),
            expected=f"{expected:,} bytes, as the header says",
            fix=REMOVE_AND_REPEAT,
        )
    if count == 0:
        return np.empty(0, dtype)  # an empty file cannot be mapped
    return np.asarray(np.memmap(path, dtype, mode="r"))  # a plain array over the map: its slices cost a third
