"""Digests of raw files, remembered by (url, size, stamp), so that unchanged raw text is read once.

    store/.digests.json: {url: [size, stamp, sha256]}

A memory, not a truth: a missing, damaged or outdated file costs a second reading and nothing else. A file stamped in the last
two seconds is not remembered, since it could be written again within one tick of the stamp's clock.

Does not know: what a source holds.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from lmpipe.base.errors import RecipeError
from lmpipe.base.files import atomic_file
from lmpipe.base.progress import Progress
from lmpipe.pipeline.stage import Source
from lmpipe.pipeline.verified import in_threads

Entry = tuple[int, str, str]
FRESH_SECONDS = 2.0
SAVE_SECONDS = 30.0
"""How often a long reading is saved, so that a kill loses little of it."""


class DigestMemory:
    """The remembered digests of one store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, Entry] | None = None
        self._new: dict[str, Entry] = {}
        self._lock = threading.Lock()

    def known(self, source: Source) -> str | None:
        """The digest, if this url was read with this size and stamp before."""
        if self._entries is None:
            self._entries = _load(self.path)
        entry = self._new.get(source.url) or self._entries.get(source.url)
        return entry[2] if entry and source.stamp and (entry[0], entry[1]) == (source.size, source.stamp) else None

    def unknown(self, sources: Iterable[Source]) -> list[Source]:
        """Those that would have to be read."""
        return [source for source in sources if self.known(source) is None]

    def digests(self, sources: Sequence[Source], progress: Progress) -> dict[str, str]:
        """sha256 by source name, reading what is not known.

        Raises:
            RecipeError: when two sources have one name.
            SourceError: from a source that cannot be read.
        """
        _check_names(sources)
        missing = self.unknown(sources)
        read = self._read(missing, progress) if missing else {}
        return {source.name: read.get(source.name) or self.known(source) or source.digest() for source in sources}

    def _read(self, sources: Sequence[Source], progress: Progress) -> dict[str, str]:
        found: dict[str, str] = {}
        total, done, saved_at = float(sum(s.size for s in sources)), 0.0, time.monotonic()
        try:
            for source, digest in zip(sources, in_threads(lambda s: s.digest(), sources, int(total)), strict=True):
                found[source.name] = digest
                self._note(source, digest)
                done += source.size
                progress.update(done, total, "bytes of raw text identified")
                if time.monotonic() - saved_at > SAVE_SECONDS:
                    self._save()
                    saved_at = time.monotonic()
        finally:
            self._save()
        return found

    def _note(self, source: Source, digest: str) -> None:
        if source.stamp and not _is_fresh(source.stamp):
            with self._lock:
                self._new[source.url] = (source.size, source.stamp, digest)

    def _save(self) -> None:
        """Merge into the file: another process may have written since. The last writer wins; a lost entry is read again."""
        with self._lock:
            if not self._new:
                return
            self._entries = {**_load(self.path), **self._new}
            with atomic_file(self.path, "w", encoding="utf-8") as file:
                json.dump(self._entries, file, separators=(",", ":"))
            self._new = {}


def _load(path: Path) -> dict[str, Entry]:
    try:
        value = json.loads(path.read_bytes())
        return {str(url): (int(size), str(stamp), str(digest)) for url, (size, stamp, digest) in value.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _is_fresh(stamp: str) -> bool:
    if not stamp.isdecimal() or len(stamp) < 18:  # not nanoseconds since 1970: an ETag, a version
        return False
    return abs(time.time_ns() - int(stamp)) < FRESH_SECONDS * 1e9


def _check_names(sources: Sequence[Source]) -> None:
    seen: set[str] = set()
    for source in sources:
        if source.name in seen:
            raise RecipeError(
                f"two raw files of one stage are called '{source.name}'",
                where=source.url,
                expected="a name that is unique within the stage",
                fix="list the file once, or read the two places as two corpora",
            )
        seen.add(source.name)
