"""A lease: one process at a time computes one stage, and a dead process blocks nobody.

    holder alive on this machine   wait, however long it takes
    holder dead on this machine    taken over at once (process number and start time tell)
    holder on another machine      taken over when its heartbeat has not moved for `ttl` seconds as seen from here

The file names holder and token, is created exclusively, and is touched every few seconds. Staleness of another machine's holder
is judged by watching, never by comparing clocks, which may be off by hours. Of several that want to take over, one can. A
holder that was paused and lost its lease notices before it publishes.

Does not know: what the lease is for.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from lmpipe.base.errors import StoreError
from lmpipe.base.files import storing
from lmpipe.pipeline.owner import Owner, owner_of, same_process, this_process

HEARTBEAT_SECONDS = 5.0
TTL_SECONDS = 60.0
"""Twelve missed heartbeats. NFS may show a file's time up to 60 s late; opening the file, as we do, revalidates it."""
POLL_SECONDS = 0.25


_held: set[str] = set()
"""Tokens this process holds. A notebook outlives its runs: a lease that an interrupt left behind must not block the next."""


class Lease:
    """A held lease; use it as a context manager. `lost` is set when somebody else took it over."""

    def __init__(self, path: Path, token: str, heartbeat: float) -> None:
        self.path = path
        self.token = token
        _held.add(token)
        self.lost = threading.Event()
        self.also_beat: Callable[[], None] = _nothing
        self.also_release: Callable[[], None] = _nothing
        """For a lease that is kept in a second place as well."""
        self._closing = threading.Event()
        self._children: list[Owner] = []
        self._beat = threading.Thread(target=self._keep, args=(heartbeat,), name=f"lease {path.name}", daemon=True)

    def __enter__(self) -> Self:
        self._beat.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def covers(self, pid: int) -> None:
        """Name a process that works for the holder: the lease is not free before it has ended as well."""
        self._children = [owner_of(pid)]
        replacement = self.path.with_name(f"{self.path.name}.{self.token}.tmp")
        with storing(self.path):
            replacement.write_text(_spell(self.token, self._children), encoding="utf-8")
            if self.is_held():
                replacement.replace(self.path)
            else:
                replacement.unlink()

    def is_held(self) -> bool:
        """Whether the lease is still this process's own."""
        holder = _read(self.path)
        held = holder is not None and holder.token == self.token
        if not held:
            self.lost.set()
        return held

    def release(self) -> None:
        """Give the lease back."""
        self._closing.set()
        try:
            if self._beat.ident is not None:
                self._beat.join()
            if self.is_held():
                self.path.unlink(missing_ok=True)
                self.also_release()
        finally:
            _held.discard(self.token)  # not before: another thread would take the lease for forgotten

    def _keep(self, heartbeat: float) -> None:
        while not self._closing.wait(heartbeat):
            with suppress(OSError):  # a network file system that is away for a moment; if for long, `is_held` tells
                if not self.is_held():
                    return
                os.utime(self.path)
            with suppress(StoreError):
                self.also_beat()


def _nothing() -> None:
    pass


class Holder:
    """Who holds a lease, as read from its file. `owner` is None when the file cannot be understood."""

    def __init__(self, token: str, owner: Owner | None, children: list[Owner], beat: int) -> None:
        self.token = token
        self.owner = owner
        self.children = children
        self.beat = beat

    def __str__(self) -> str:
        return str(self.owner) if self.owner else "an unknown process"

    def is_dead(self) -> bool | None:
        """True when the holder and all that work for it have ended, None when that cannot be known from here."""
        if self.owner is None:
            return None
        forgotten = self.owner == this_process() and self.token not in _held
        answers = [forgotten or self.owner.is_dead(), *(child.is_dead() for child in self.children)]
        if False in answers:
            return False
        return None if None in answers else True


class Watch:
    """Tells when a holder on another machine has fallen silent."""

    def __init__(self, ttl: float) -> None:
        self.ttl = ttl
        self._seen: tuple[str, int] | None = None
        self._since = 0.0

    def is_silent(self, holder: Holder) -> bool:
        """Whether this holder's heartbeat has not moved for `ttl` seconds of this process's own clock."""
        now = time.monotonic()
        if self._seen != (holder.token, holder.beat):
            self._seen, self._since = (holder.token, holder.beat), now
        return now - self._since > self.ttl


def acquire(
    path: Path, *, waiting: Callable[[Holder], None], ttl: float = TTL_SECONDS, heartbeat: float = HEARTBEAT_SECONDS
) -> Lease:
    """Wait for the lease at `path` and take it. `waiting` is called at every look while somebody else holds it.

    Raises:
        StoreError: when the place cannot be written.
    """
    watch = Watch(ttl)
    while True:
        lease, holder = try_acquire(path, watch=watch, heartbeat=heartbeat)
        if lease is not None:
            return lease
        if holder is not None:
            waiting(holder)
        time.sleep(POLL_SECONDS)


def try_acquire(
    path: Path, *, watch: Watch | None = None, heartbeat: float = HEARTBEAT_SECONDS
) -> tuple[Lease | None, Holder | None]:
    """Take the lease if it is free or its holder is dead; else say who holds it (None: it changed hands just now)."""
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = _read(path)
        if holder is not None:
            dead = holder.is_dead()
            if not (dead or (dead is None and watch is not None and watch.is_silent(holder))):
                return None, holder
            if not _take_away(path, holder):
                return None, None
        lease = Lease(path, uuid.uuid4().hex, heartbeat)
        if _create(path, _spell(lease.token, [])):
            return lease, None
        _held.discard(lease.token)
        return None, None


def holder_of(path: Path) -> Holder | None:
    """Who holds the lease at `path`; None when nobody, or only a dead process, does."""
    holder = _read(path)
    return None if holder is None or holder.is_dead() else holder


def _take_away(path: Path, stale: Holder) -> bool:
    """Remove a stale lease. Several may have seen it stale, and one may already have been followed by a fresh lease.

    So the right to remove this very lease is itself taken exclusively, and the lease looked at again with that right in hand:
    from then on nobody else can exchange it, since its holder is dead.
    """
    right = path.with_name(f"{path.name}.{hashlib.sha256(stale.token.encode()).hexdigest()[:16]}.tmp")
    token = uuid.uuid4().hex
    _held.add(token)
    if not _create(right, _spell(token, [])):
        _held.discard(token)
        contender = _read(right)
        if contender is not None and (contender.is_dead() or time.time() - contender.beat / 1e9 > TTL_SECONDS):
            right.unlink(missing_ok=True)  # it died within these few lines
        return False
    try:
        current = _read(path)
        if current is None or current.token != stale.token:
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        right.unlink(missing_ok=True)
        _held.discard(token)


def _create(path: Path, text: str) -> bool:
    """Make a file with its whole text, unless there is one: a link to a finished file is made whole or not at all."""
    whole = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        whole.write_text(text, encoding="utf-8")
        os.link(whole, path)
    except FileExistsError:
        return whole.stat().st_nlink == 2  # NFS may repeat a request whose answer was lost, and refuse the repetition
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _create_without_links(path, text)
    finally:
        whole.unlink(missing_ok=True)
    return True


def _create_without_links(path: Path, text: str) -> bool:
    """For file systems that have no links. A kill between the two steps leaves an empty lease, which is waited out."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _spell(token: str, children: list[Owner]) -> str:
    owner = this_process().model_dump(mode="json")
    return json.dumps({"token": token, "owner": owner, "children": [child.model_dump(mode="json") for child in children]})


def _read(path: Path) -> Holder | None:
    try:
        with path.open("rb") as file:
            beat = os.fstat(file.fileno()).st_mtime_ns
            data = file.read()
    except FileNotFoundError:
        return None
    try:
        value = json.loads(data)
        children = [owner for child in value["children"] if (owner := same_process(child))]
        return Holder(str(value["token"]), same_process(value["owner"]), children, beat)
    except (ValueError, TypeError, KeyError):
        return Holder("", None, [], beat)
