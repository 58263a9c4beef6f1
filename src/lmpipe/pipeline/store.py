"""The store: results by what they are. A folder is there whole or not at all.

    store/<stage>/<fingerprint[:16]>/   a complete result: its files, `observed/`, and `record.json`
    store/runs/<name>/<id>.json         what each run used
    store/.tmp/                         results being written; .scratch/: half-done work that a later attempt goes on with
    store/.leases/  .verified/  .digests.json    who computes what; which files were checked; digests of raw files
    store/.damaged/                     what was found damaged, kept for a look; .failed/: tracebacks
    store/.answers/                     answers from outside, by the digest of the question: paid for, so never collected

A result is written under .tmp, synced, given its record, and renamed into place: one rename, after which the disk holds it even
through a power cut. Nothing ever writes into a published folder.

Does not know: how a stage is run, what is in its files.
"""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmpipe.base.errors import DamagedError, StoreError
from lmpipe.base.files import storing, sync_folder, sync_tree
from lmpipe.pipeline.digests import DigestMemory
from lmpipe.pipeline.fingerprint import SHORT
from lmpipe.pipeline.lease import Holder, Lease, acquire, try_acquire
from lmpipe.pipeline.record import OBSERVED, RECORD, Record, read_record, write_record
from lmpipe.pipeline.verified import Damage, find_damage, is_content, is_recorded, remember, scan


@dataclass(frozen=True)
class Workspace:
    """Where one attempt at a stage writes."""

    output: Path
    scratch: Path
    resumes: bool
    """Whether `scratch` holds something of an earlier attempt."""

    @property
    def observed(self) -> Path:
        """The part of the output that no digest covers."""
        return self.output / OBSERVED


class Store:
    """A store in a local folder. Made on first write; reading from one that is not there finds nothing."""

    def __init__(self, root: Path, url: str = "", *, answers: Path | None = None) -> None:
        self.root = root
        self.url = url or str(root)
        self.answers = answers or root / ".answers"
        self.digests = DigestMemory(root / ".digests.json")

    # -- addresses

    def folder(self, stage: str, fingerprint: str) -> Path:
        """Where the result of a stage is, or would be."""
        return self.root / stage / fingerprint[:SHORT]

    def scratch_of(self, stage: str, fingerprint: str) -> Path:
        """Where half-done work of a stage is kept."""
        return self.root / ".scratch" / _key(stage, fingerprint)

    def lease_path(self, stage: str, fingerprint: str) -> Path:
        """The file that says who computes a stage."""
        return self.root / ".leases" / f"{_key(stage, fingerprint)}.json"

    def _memory(self, stage: str, fingerprint: str) -> Path:
        return self.root / ".verified" / f"{_key(stage, fingerprint)}.json"

    # -- reading

    def find(self, stage: str, fingerprint: str) -> Record | None:
        """The record of a stage's result; None when there is none.

        Raises:
            DamagedError: when the folder is there but its record is missing, unreadable, or another stage's.
        """
        folder = self.folder(stage, fingerprint)
        if not folder.is_dir():
            return None
        if not (folder / RECORD).exists():
            raise DamagedError(f"{folder} has no {RECORD}", where=str(folder), expected="a complete result")
        record = read_record(folder / RECORD)
        if (record.stage, record.fingerprint) != (stage, fingerprint):
            raise DamagedError(f"{folder} holds the record of {record.stage} {record.fingerprint}", where=str(folder))
        return record

    def records(self, stage: str, limit: int | None = None) -> list[Record]:
        """Readable records of all results of a stage, newest first."""
        folders = [p for p in _listed(self.root / stage) if (p / RECORD).is_file()]
        folders.sort(key=lambda p: (p / RECORD).stat().st_mtime_ns, reverse=True)
        found = []
        for folder in folders[:limit]:
            try:
                found.append(read_record(folder / RECORD))
            except StoreError:
                continue  # `verify` names it; a listing goes on
        return found

    def has_results(self, stage: str) -> bool:
        """Whether there is any result of a stage, readable or not."""
        return bool(_listed(self.root / stage))

    def stages(self) -> list[str]:
        """Names of the stages that have results here."""
        return [p.name for p in _listed(self.root) if p.name != "runs" and not p.name.startswith(".")]

    def damage(self, record: Record, *, thorough: bool = False) -> list[Damage]:
        """Which files are not as recorded: content that changed since the last look, or (`thorough`) every byte."""
        folder = self.folder(record.stage, record.fingerprint)
        if thorough:
            return find_damage(folder, {**record.files, **record.observed}, None, is_recorded)
        return find_damage(folder, record.files, self._memory(record.stage, record.fingerprint))

    def absent(self, record: Record) -> list[str]:
        """Content files that are missing or of another size: the cheapest look, without reading any."""
        folder = self.folder(record.stage, record.fingerprint)
        return [path for path, entry in record.files.items() if _size(folder / path) != entry.bytes]

    def fetch(self, record: Record) -> Path:
        """The local folder with a result's files, each of them there."""
        return self.folder(record.stage, record.fingerprint)

    def share(self, record: Record) -> None:
        """Make a result that is here visible to everybody who uses the store; a local store has nothing to do."""

    # -- writing

    def lease(self, stage: str, fingerprint: str, waiting: Callable[[Holder], None]) -> Lease:
        """The right to compute a stage; waits while another process has it."""
        return acquire(self.lease_path(stage, fingerprint), waiting=waiting)

    def lease_at_once(self, stage: str, fingerprint: str) -> Lease | None:
        """The right to compute (or remove) a stage if nobody has it."""
        return try_acquire(self.lease_path(stage, fingerprint))[0]

    def begin(self, stage: str, fingerprint: str) -> Workspace:
        """Folders for one attempt. The caller holds the lease, so that what an earlier attempt left under .tmp can go.

        Raises:
            StoreError: when the store cannot be written.
        """
        temporary, key = self.root / ".tmp", _key(stage, fingerprint)
        with storing(self.root):
            temporary.mkdir(parents=True, exist_ok=True)
            for leftover in temporary.glob(f"{key}.*"):
                shutil.rmtree(leftover, ignore_errors=True)
            scratch = self.scratch_of(stage, fingerprint)
            scratch.mkdir(parents=True, exist_ok=True)
            workspace = Workspace(temporary / f"{key}.{uuid.uuid4().hex[:8]}", scratch, resumes=any(scratch.iterdir()))
            workspace.observed.mkdir(parents=True)
        return workspace

    def publish(self, workspace: Workspace, record: Record) -> None:
        """Make an attempt's output the result, for good.

        Raises:
            StoreError: when the disk is full or may not be written; nothing is published then.
        """
        final = self.folder(record.stage, record.fingerprint)
        with storing(final):
            sync_tree(workspace.output)
            write_record(workspace.output, record)
            final.parent.mkdir(parents=True, exist_ok=True)
            if not move_in(workspace.output, final):
                return
            sync_folder(self.root)
            seen = {path: numbers for path, numbers in scan(final).items() if is_content(path)}
            remember(self._memory(record.stage, record.fingerprint), seen)
        self.forget_scratch(record.stage, record.fingerprint)

    def abandon(self, workspace: Workspace) -> None:
        """Remove a failed attempt's output; its scratch stays for the next."""
        shutil.rmtree(workspace.output, ignore_errors=True)

    def forget_scratch(self, stage: str, fingerprint: str) -> None:
        """Remove half-done work of a stage whose result is published."""
        shutil.rmtree(self.scratch_of(stage, fingerprint), ignore_errors=True)

    def quarantine(self, stage: str, fingerprint: str) -> Path:
        """Move a damaged result out of the way, keeping it for a look. The caller holds the lease."""
        return self._set_aside(self.folder(stage, fingerprint), _key(stage, fingerprint))

    def set_aside_strays(self, record: Record, damage: list[Damage]) -> Path:
        """Move files that do not belong into a result's folder out of it."""
        folder, where = self.folder(record.stage, record.fingerprint), self.root / ".damaged"
        for item in damage:
            where = self._set_aside(folder / item.file, f"{_key(record.stage, record.fingerprint)}.{Path(item.file).name}")
        return where

    def _set_aside(self, path: Path, name: str) -> Path:
        target = self.root / ".damaged" / f"{name}.{uuid.uuid4().hex[:8]}"
        with storing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        return target

    def remove(self, stage: str, fingerprint: str) -> None:
        """Delete a result: renamed away first, so that a kill never leaves half of one. The caller holds the lease."""
        trash = self.root / ".tmp" / f"removed.{uuid.uuid4().hex}"
        with storing(trash):
            trash.parent.mkdir(parents=True, exist_ok=True)
            self.folder(stage, fingerprint).rename(trash)
            self._memory(stage, fingerprint).unlink(missing_ok=True)
        shutil.rmtree(trash, ignore_errors=True)

    # -- run records

    def run_files(self) -> list[Path]:
        """Files of all run records."""
        return [file for folder in _listed(self.root / "runs") for file in sorted(folder.glob("*.json"))]

    def push_run(self, path: Path) -> None:
        """Called after a run record was written to `path`; a remote store sends it."""


def move_in(folder: Path, final: Path) -> bool:
    """Give a complete folder its final name, durably. False when another process was first: the same identity, as good."""
    try:
        folder.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    sync_folder(final.parent)
    return True


def open_store(url: str) -> Store:
    """The store at a local folder or an fsspec URL (`s3://bucket/store`, `gs://...`, `file://...`)."""
    if "://" not in url:
        return Store(Path(url).expanduser().absolute(), url)
    from lmpipe.pipeline.remote import RemoteStore  # fsspec takes 50 ms to import; a local store does without

    return RemoteStore(url)


def _key(stage: str, fingerprint: str) -> str:
    return f"{stage}-{fingerprint[:SHORT]}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _listed(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
