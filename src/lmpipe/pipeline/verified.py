"""Which files are known to be what a record says, so that an unchanged terabyte is not read again before every use.

    remembered: relative path -> (size, mtime, ctime, inode) at the moment its sha256 was computed, per stage folder
    the rule:   a file whose four numbers are the remembered ones is taken as verified; any other file is read and hashed

So an edit, a copy, a restored backup or a bit flipped by a write is found before use. Bits that rot on the disk under unchanged
numbers are not; `verify` reads everything and finds those.

Does not know: stores, stages.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from lmpipe.base.canonical import digest_of_file
from lmpipe.base.errors import StageError
from lmpipe.base.runtime import usable_processors
from lmpipe.pipeline.record import OBSERVED, RECORD, FileEntry

Numbers = list[int]
Item = TypeVar("Item")
THREADS_FROM_BYTES = 64 << 20


@dataclass(frozen=True)
class Damage:
    """One file that is not what its record says."""

    file: str
    kind: Literal["missing", "size", "digest", "unexpected"]

    def __str__(self) -> str:
        words = {
            "missing": "is missing",
            "size": "has another size than recorded",
            "digest": "has other bytes than recorded",
            "unexpected": "is not in the record",
        }
        return f"{self.file} {words[self.kind]}"


def scan(folder: Path) -> dict[str, Numbers]:
    """All files below `folder` by relative POSIX path, sorted, with what changes when a file is written, replaced or copied.

    Raises:
        StageError: for a link, socket or device: content that a digest cannot vouch for.
    """
    found: dict[str, Numbers] = {}
    _scan(str(folder), "", found)
    return dict(sorted(found.items()))


def _scan(folder: str, prefix: str, found: dict[str, Numbers]) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _scan(entry.path, f"{prefix}{entry.name}/", found)
            elif entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                found[prefix + entry.name] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
            else:
                raise StageError(
                    f"{entry.path} is neither a file nor a folder",
                    expected="regular files only: a digest cannot vouch for what a link points to",
                    fix="copy the file instead of linking it",
                )


def hash_files(folder: Path, files: Iterable[str]) -> dict[str, FileEntry]:
    """Digest and size of files below `folder`."""
    sizes = {path: (folder / path).stat().st_size for path in files}
    digests = in_threads(lambda path: digest_of_file(folder / path), list(sizes), sum(sizes.values()))
    return {path: FileEntry(sha256=digest, bytes=sizes[path]) for path, digest in zip(sizes, digests, strict=True)}


def in_threads(hash_one: Callable[[Item], str], items: Sequence[Item], total_bytes: int) -> Iterator[str]:
    """`hash_one` of every item, in order; in a few threads when there is much to read.

    Starting threads costs more than small files take: 32 files of 20 kB took 4 to 8 ms in threads, 1 ms in one.
    """
    if total_bytes < THREADS_FROM_BYTES or len(items) < 2:
        yield from map(hash_one, items)
        return
    with ThreadPoolExecutor(max_workers=min(4, usable_processors(), len(items))) as pool:
        yield from pool.map(hash_one, items)


def is_content(path: str) -> bool:
    """Whether a relative path counts into the content digest."""
    return path != RECORD and path.split("/", 1)[0] != OBSERVED


def is_recorded(path: str) -> bool:
    """Whether a record has a digest for a relative path: all but the record itself."""
    return path != RECORD


def find_damage(
    folder: Path, expected: Mapping[str, FileEntry], memory: Path | None, counts: Callable[[str], bool] = is_content
) -> list[Damage]:
    """Compare the files of `folder` that count with a record's. With a `memory` file, only what changed since is read.

    Files whose name starts with a dot (a file browser's leftovers) are not content and not damage.
    """
    remembered = _recall(memory) if memory else {}
    present = {path: seen for path, seen in scan(folder).items() if counts(path)} if folder.is_dir() else {}
    damage = [Damage(path, "missing") for path in expected if path not in present]
    damage += [Damage(p, "unexpected") for p in present if p not in expected and not Path(p).name.startswith(".")]
    sized = [path for path in expected if path in present]
    damage += [Damage(path, "size") for path in sized if present[path][0] != expected[path].bytes]
    doubtful = [p for p in sized if present[p][0] == expected[p].bytes and remembered.get(p) != present[p]]
    actual = hash_files(folder, doubtful)
    damage += [Damage(path, "digest") for path in doubtful if actual[path].sha256 != expected[path].sha256]
    if memory and doubtful and not damage:
        remember(memory, {path: present[path] for path in sized})
    return sorted(damage, key=lambda item: item.file)


def remember(memory: Path, seen: Mapping[str, Numbers]) -> None:
    """Keep the numbers of files that were just found to be as recorded.

    Not synced and allowed to fail: what is lost costs one more reading.
    """
    temporary = memory.with_name(f".{memory.name}.{os.getpid()}.tmp")
    with suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(seen), encoding="utf-8")
        temporary.replace(memory)
    with suppress(OSError):
        temporary.unlink(missing_ok=True)


def _recall(memory: Path) -> dict[str, Numbers]:
    try:
        value = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
