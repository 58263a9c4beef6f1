"""Durable local files: whole or absent, never half-written.

A power cut or a SIGKILL leaves either the old bytes or the new ones: write to a temporary name beside the target, flush, fsync,
rename, fsync the folder (a rename is only durable once its folder is).
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from lmpipe.base.errors import StoreError


def sync_folder(folder: Path) -> None:
    """fsync a folder, so that names made or renamed in it survive a power cut."""
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """fsync every file and folder below `folder`, and the folder itself, files first and then folders, deepest first.

    Files go in a few threads: a journal commits waiting files together (32 small files on ext4: 18 ms instead of 127 ms).
    """
    paths = list(folder.rglob("*"))
    folders = {path for path in paths if path.is_dir()}
    files = [path for path in paths if path not in folders]
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(_sync, files))
    for path in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        sync_folder(path)
    sync_folder(folder)


@contextmanager
def atomic_file(path: Path, mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """Open a temporary file that becomes `path` when the block ends well and vanishes when it does not.

    Raises:
        StoreError: when the disk is full or the place may not be written, naming the path and the free bytes.
    """
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with storing(path), temporary.open(mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with storing(path):
            temporary.replace(path)
            sync_folder(path.parent)
    finally:
        with suppress(OSError):  # of a file system that was made read-only: what it could not write has been told above
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. Keys keep their order; NaN is refused."""
    with atomic_file(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def share(path: Path) -> None:
    """Give a file the mode that any new file has: some libraries write files that nobody else can read."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def read_json(path: Path) -> Any:
    """The value in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn the system's refusals (disk full, quota, no permission, read-only, not a folder) into a `StoreError` on `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"no space left while writing {path}",
                where=f"{free_bytes(path):,} bytes free on that disk",
                expected="enough free space for the store",
                fix="free some space (`lmpipe gc` lists what can go) or use --store elsewhere; the same command then goes on",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(
                f"no permission to write {path}",
                where=str(path),
                expected="a folder that this user may write",
                fix="change its permissions or use --store elsewhere; the same command then goes on",
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
            raise StoreError(
                f"something else is in the way of {path}",
                where=str(error.filename or path),
                expected="a folder, or nothing yet",
                fix="move it away or use --store elsewhere; the same command then goes on",
            ) from error
        raise


def free_bytes(path: Path) -> int:
    """Free bytes on the disk that holds `path` or its nearest existing parent."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free
