"""A store at an fsspec URL: computed in a local cache, complete when its `record.json` lies there.

    result   computed and published in the cache, then its files are sent, then `record.json`, last
    hit      the remote record is there; files come when a stage needs them, each checked against its digest
    lease    exact among processes that share the cache (this machine); across machines advisory: object stores have no
             exclusive creation that all of them honour, so two machines may compute the same stage at the same time. Both
             results are right; should their bytes differ, a reader notices by digest and computes anew.

Does not know: which service it is. Credentials and options come from the environment or fsspec's own configuration files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import fsspec

from lmpipe.base.canonical import CHUNK_BYTES
from lmpipe.base.errors import DamagedError, LmpipeError, StoreError
from lmpipe.base.files import atomic_file, storing, sync_tree
from lmpipe.pipeline.lease import POLL_SECONDS, TTL_SECONDS, Holder, Lease, Watch
from lmpipe.pipeline.owner import same_process, this_process
from lmpipe.pipeline.record import RECORD, Record, parse_record, write_record
from lmpipe.pipeline.store import Store, Workspace, move_in
from lmpipe.pipeline.verified import Damage

CACHE_VARIABLE = "LMPIPE_CACHE"


class RemoteStore(Store):
    """A local cache that mirrors a remote store. What is remote is the truth; the cache may be deleted at any time."""

    def __init__(self, url: str, cache: Path | None = None) -> None:
        key = hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]
        super().__init__((cache or _cache_folder()) / key, url.rstrip("/"))
        try:
            self.filesystem, path = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise StoreError(
                f"cannot open the store {url}: {error}",
                expected="a local folder or a URL that fsspec can open",
                fix="check the URL; some services need their own package (s3fs, gcsfs, adlfs)",
            ) from error
        self.base = path.rstrip("/")
        self.filesystem.invalidate_cache()
        self._unsent: set[str] = set()
        """Fingerprints of results that the cache has and the remote store lacks: an upload that was cut off."""

    def _at(self, *parts: str) -> str:
        return "/".join((self.base, *parts))

    def _remote_folder(self, record: Record) -> tuple[str, ...]:
        return record.stage, self.folder(record.stage, record.fingerprint).name

    # -- reading

    def find(self, stage: str, fingerprint: str) -> Record | None:
        """As `Store.find`; a result that only the cache has counts, and `share` sends it."""
        path = self._at(stage, self.folder(stage, fingerprint).name, RECORD)
        data = self._read(path)
        if data is None:
            return self._find_in_cache(stage, fingerprint)
        try:
            record = parse_record(data, path)
        except DamagedError:
            cached = self._find_in_cache(stage, fingerprint)  # the upload of the record was cut off: it can be sent again
            if cached is None:
                raise
            return cached
        if (record.stage, record.fingerprint) != (stage, fingerprint):
            raise DamagedError(f"{path} is the record of {record.stage} {record.fingerprint}", where=path)
        return record

    def _find_in_cache(self, stage: str, fingerprint: str) -> Record | None:
        try:
            record = super().find(stage, fingerprint)
        except DamagedError:
            self._drop_from_cache(stage, fingerprint)
            return None
        if record is not None:
            self._unsent.add(fingerprint)
        return record

    def share(self, record: Record) -> None:
        """Send a result that the remote store lacks."""
        if record.fingerprint in self._unsent:
            self._send(record)
            self._unsent.discard(record.fingerprint)

    def records(self, stage: str, limit: int | None = None) -> list[Record]:
        """As `Store.records`."""
        found = []
        for folder in self._names(stage):
            path = self._at(stage, folder, RECORD)
            data = self._read(path)
            with suppress(StoreError):
                found += [parse_record(data, path)] if data else []
        found.sort(key=lambda record: record.finished_at, reverse=True)
        return found[:limit]

    def has_results(self, stage: str) -> bool:
        """As `Store.has_results`."""
        return bool(self._names(stage))

    def stages(self) -> list[str]:
        """As `Store.stages`."""
        return [name for name in self._names() if name != "runs" and not name.startswith(".")]

    def absent(self, record: Record) -> list[str]:
        """As `Store.absent`, by one listing."""
        folder = self._at(*self._remote_folder(record))
        if record.fingerprint in self._unsent:
            return super().absent(record)
        with self._reaching(folder):
            listed = self.filesystem.find(folder, detail=True)
        sizes = {str(path).rpartition(f"{record.stage}/{Path(folder).name}/")[2]: info["size"] for path, info in listed.items()}
        return [path for path, entry in record.files.items() if sizes.get(path) != entry.bytes]

    def damage(self, record: Record, *, thorough: bool = False) -> list[Damage]:
        """As `Store.damage`. Damage in the cache is none: the files are fetched again. `thorough` reads the remote bytes."""
        folder = self.folder(record.stage, record.fingerprint)
        if folder.is_dir() and super().damage(record, thorough=thorough):
            self._drop_from_cache(record.stage, record.fingerprint)
            if record.fingerprint in self._unsent:
                return [Damage(RECORD, "missing")]  # it was nowhere else
        return self._remote_damage(record) if thorough and record.fingerprint not in self._unsent else []

    def _remote_damage(self, record: Record) -> list[Damage]:
        absent = set(self.absent(record))
        damage = [Damage(path, "missing") for path in absent]
        for path, entry in {**record.files, **record.observed}.items():
            if path not in absent and self._digest(self._at(*self._remote_folder(record), path)) != entry.sha256:
                damage.append(Damage(path, "digest"))
        return sorted(damage, key=lambda item: item.file)

    def _digest(self, path: str) -> str:
        sha = hashlib.sha256()
        with self._reaching(path), self.filesystem.open(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                sha.update(chunk)
        return sha.hexdigest()

    def fetch(self, record: Record) -> Path:
        """The cached folder with a result's files, fetched now if it is not there.

        Raises:
            DamagedError: when a remote file is not what the record says; the remote result is struck off, so that the same
                command computes it anew.
        """
        folder = self.folder(record.stage, record.fingerprint)
        if folder.is_dir():
            return folder
        arriving = self.root / ".tmp" / f"arriving.{uuid.uuid4().hex}"
        try:
            with storing(arriving):
                self._receive(record, arriving)
                sync_tree(arriving)
                write_record(arriving, record)
                folder.parent.mkdir(parents=True, exist_ok=True)
                move_in(arriving, folder)
        finally:
            shutil.rmtree(arriving, ignore_errors=True)
        if damage := super().damage(record):
            self._drop_from_cache(record.stage, record.fingerprint)
            self._strike_off(record.stage, record.fingerprint)
            raise DamagedError(
                f"{damage[0].file} of stage '{record.stage}' has other bytes in {self.url} than recorded",
                where=self._at(*self._remote_folder(record)),
                expected=f"sha256 {record.files[damage[0].file].sha256}" if damage[0].file in record.files else "",
                fix="run again: the stage is computed anew",
            )
        return folder

    def _receive(self, record: Record, folder: Path) -> None:
        for path in (*record.files, *record.observed):
            target, origin = folder / path, self._at(*self._remote_folder(record), path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._reaching(origin):
                self.filesystem.get_file(origin, str(target))
        folder.mkdir(parents=True, exist_ok=True)

    def _drop_from_cache(self, stage: str, fingerprint: str) -> None:
        super().remove(stage, fingerprint)

    # -- writing

    def publish(self, workspace: Workspace, record: Record) -> None:
        """As `Store.publish`, then send it, the record last."""
        super().publish(workspace, record)
        self._send(record)

    def _send(self, record: Record) -> None:
        folder = self.folder(record.stage, record.fingerprint)
        for path in (*record.files, *record.observed, RECORD):
            target = self._at(*self._remote_folder(record), path)
            with self._reaching(target):
                self.filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
                self.filesystem.put_file(str(folder / path), target)

    def quarantine(self, stage: str, fingerprint: str) -> Path:
        """Strike a damaged remote result off by removing its record; what the cache has is set aside."""
        self._strike_off(stage, fingerprint)
        folder = self.folder(stage, fingerprint)
        return super().quarantine(stage, fingerprint) if folder.is_dir() else folder

    def _strike_off(self, stage: str, fingerprint: str) -> None:
        path = self._at(stage, self.folder(stage, fingerprint).name, RECORD)
        with self._reaching(path), suppress(FileNotFoundError):
            self.filesystem.rm_file(path)

    def remove(self, stage: str, fingerprint: str) -> None:
        """As `Store.remove`, the remote record first."""
        self._strike_off(stage, fingerprint)
        path = self._at(stage, self.folder(stage, fingerprint).name)
        with self._reaching(path), suppress(FileNotFoundError):
            self.filesystem.rm(path, recursive=True)
        if self.folder(stage, fingerprint).is_dir():
            super().remove(stage, fingerprint)

    # -- leases

    def lease(self, stage: str, fingerprint: str, waiting: Callable[[Holder], None]) -> Lease:
        """The cache's lease, and then the remote, advisory one."""
        lease = super().lease(stage, fingerprint, waiting)
        path = self._at(".leases", lease.path.name)
        watch = Watch(TTL_SECONDS)
        try:
            while (holder := self._remote_holder(path)) is not None and not (holder.is_dead() or watch.is_silent(holder)):
                waiting(holder)
                time.sleep(POLL_SECONDS)
            self._beat(path, lease.token)
        except BaseException:
            lease.release()
            raise
        lease.also_beat = lambda: self._beat(path, lease.token)
        lease.also_release = lambda: self._give_back(path, lease.token)
        return lease

    def _remote_holder(self, path: str) -> Holder | None:
        data = self._read(path)
        try:
            value = json.loads(data) if data else None
            return Holder(value["token"], same_process(value["owner"]), [], value["beat"]) if value else None
        except (ValueError, TypeError, KeyError):
            return None

    def _beat(self, path: str, token: str) -> None:
        value = {"token": token, "owner": this_process().model_dump(mode="json"), "beat": time.time_ns()}
        with self._reaching(path):
            self.filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.filesystem.pipe_file(path, json.dumps(value).encode())

    def _give_back(self, path: str, token: str) -> None:
        holder = self._remote_holder(path)
        if holder is not None and holder.token == token:
            with self._reaching(path):
                self.filesystem.rm_file(path)

    # -- run records

    def run_files(self) -> list[Path]:
        """As `Store.run_files`, after bringing the remote ones here."""
        for name in self._names("runs"):
            for file in self._names("runs", name):
                data = self._read(self._at("runs", name, file))
                if data:
                    with atomic_file(self.root / "runs" / name / file) as target:
                        target.write(data)
        return super().run_files()

    def push_run(self, path: Path) -> None:
        """Send a run record."""
        target = self._at("runs", path.parent.name, path.name)
        with self._reaching(target):
            self.filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
            self.filesystem.put_file(str(path), target)

    # -- the service

    def _read(self, path: str) -> bytes | None:
        with self._reaching(path):
            try:
                data: bytes = self.filesystem.cat_file(path)
            except FileNotFoundError:
                return None
        return data

    def _names(self, *parts: str) -> list[str]:
        path = self._at(*parts)
        with self._reaching(path):
            self.filesystem.invalidate_cache(path)
            try:
                return sorted(str(name).rstrip("/").rpartition("/")[2] for name in self.filesystem.ls(path, detail=False))
            except FileNotFoundError:
                return []

    @contextmanager
    def _reaching(self, path: str) -> Iterator[None]:
        try:
            yield
        except LmpipeError:
            raise
        except Exception as error:  # every service has its own exceptions, few of them an OSError
            raise StoreError(
                f"the store at {self.url} cannot be used: {type(error).__name__}: {error}",
                where=path,
                expected="a service that answers, and the right to read and write there",
                fix="check address, credentials and network; the same command then goes on",
            ) from error


def _cache_folder() -> Path:
    if place := os.environ.get(CACHE_VARIABLE):
        return Path(place)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "lmpipe" / "stores"
