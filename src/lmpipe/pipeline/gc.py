"""What in a store can go. Nothing is removed unless asked, and never what somebody works on.

    left behind    files under .tmp and .leases of processes that have ended; what was set aside as damaged, after `days`
    half-done      scratch of a finished stage, or not touched for `days`
    unused         results that none of the latest `keep` runs of any name stands on, older than an hour

While a run is in progress no result goes, for it may be about to read one. A result goes by a rename first, under its lease.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lmpipe.base.files import storing
from lmpipe.pipeline.fingerprint import SHORT
from lmpipe.pipeline.lease import holder_of
from lmpipe.pipeline.record import Record
from lmpipe.pipeline.runs import RunRecord, list_runs
from lmpipe.pipeline.store import Store

KEEP_RUNS = 3
KEEP_DAYS = 7.0
YOUNG_SECONDS = 3600.0
"""Results of the last hour stay: a run that was started without a run record may be about to use them."""
DAY = 86_400.0
ATTEMPT = re.compile(rf".+-[0-9a-f]{{{SHORT}}}")
"""Folders under .tmp that a lease covers; downloads and removals have other names."""


@dataclass(frozen=True)
class Garbage:
    """One thing that can go."""

    path: Path
    bytes: int
    reason: str


def collect(store: Store, *, keep: int = KEEP_RUNS, days: float = KEEP_DAYS, delete: bool = False) -> list[Garbage]:
    """What can go, biggest first; with `delete`, what went.

    Args:
        store: a local store, or a remote one (then its results, and the local cache's leftovers).
        keep: newest runs of each name whose results stay.
        days: how long half-done work and damaged results stay.
        delete: really remove.
    Raises:
        StoreError: when something may not be removed.
    """
    found = [*_left_behind(store, days), *_half_done(store, days)]
    gone = [item for item in found if not delete or _delete(item.path)]
    for record in _unused(store, keep):
        path = store.folder(record.stage, record.fingerprint)
        item = Garbage(path, sum(entry.bytes for entry in (*record.files.values(), *record.observed.values())), "unused")
        if not delete or _remove(store, record):
            gone.append(item)
    return sorted(gone, key=lambda item: -item.bytes)


def _left_behind(store: Store, days: float) -> Iterator[Garbage]:
    for path in _children(store.root / ".tmp"):
        key = path.name.partition(".")[0]
        if _is_free(store, key) if ATTEMPT.fullmatch(key) else _age(path) > DAY:
            yield Garbage(path, _size(path), "left behind by a process that has ended")
    for path in _children(store.root / ".leases"):
        if path.suffix == ".json" and holder_of(path) is None:
            yield Garbage(path, _size(path), "lease of a process that has ended")
        elif path.suffix == ".tmp" and _age(path) > YOUNG_SECONDS:
            yield Garbage(path, _size(path), "left behind by a process that has ended")
    for path in _children(store.root / ".damaged"):
        if _age(path) > days * DAY:
            yield Garbage(path, _size(path), f"damaged, set aside more than {days:g} days ago")


def _is_free(store: Store, key: str) -> bool:
    return holder_of(store.root / ".leases" / f"{key}.json") is None


def _half_done(store: Store, days: float) -> Iterator[Garbage]:
    for path in _children(store.root / ".scratch"):
        stage, _, short = path.name.rpartition("-")
        if not _is_free(store, path.name):
            continue
        if (store.root / stage / short).is_dir():
            yield Garbage(path, _size(path), "half-done work of a stage that is finished")
        elif _age(path) > days * DAY:
            yield Garbage(path, _size(path), f"half-done work, not touched for {days:g} days")


def _unused(store: Store, keep: int) -> Iterator[Record]:
    runs = list_runs(store)
    if any(_in_progress(run) for run in runs):
        return
    kept = _latest(runs, keep)
    used = {(stage.name, stage.fingerprint[:SHORT]) for run in kept for stage in run.stages}
    for name in store.stages():
        for record in store.records(name):
            old = time.time() - record.finished_at.timestamp() > YOUNG_SECONDS
            if old and (record.stage, record.fingerprint[:SHORT]) not in used:
                yield record


def _in_progress(run: RunRecord) -> bool:
    if run.status != "running":
        return False
    dead = run.owner.is_dead()
    return not dead if dead is not None else time.time() - run.started_at.timestamp() < KEEP_DAYS * DAY


def _latest(runs: list[RunRecord], keep: int) -> list[RunRecord]:
    """The newest `keep` of each name; `runs` are newest first."""
    counts: dict[str, int] = {}
    kept = []
    for run in runs:
        counts[run.name] = counts.get(run.name, 0) + 1
        if counts[run.name] <= keep:
            kept.append(run)
    return kept


def _remove(store: Store, record: Record) -> bool:
    lease = store.lease_at_once(record.stage, record.fingerprint)
    if lease is None:
        return False
    with lease:
        store.remove(record.stage, record.fingerprint)
    return True


def _delete(path: Path) -> bool:
    with storing(path):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return True


def _children(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []


def _age(path: Path) -> float:
    """Seconds since anything in it was written."""
    newest = max((p.lstat().st_mtime for p in (path, *path.rglob("*"))), default=0.0)
    return time.time() - newest


def _size(path: Path) -> int:
    return sum(p.lstat().st_size for p in (path, *path.rglob("*")) if p.is_file())
