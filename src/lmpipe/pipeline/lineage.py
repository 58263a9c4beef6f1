"""Where a file came from: every stage upstream, down to the raw files, from the records alone.

A file need not lie in the store: one that was copied out (a bundle) is found by its bytes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmpipe.base.canonical import digest_of_file
from lmpipe.base.errors import RecipeError
from lmpipe.pipeline.fingerprint import SHORT
from lmpipe.pipeline.record import Record, SourceEntry
from lmpipe.pipeline.store import Store

SHOWN = 5
"""Raw files of a stage that the text names; the JSON has all."""


@dataclass(frozen=True)
class Origin:
    """One stage upstream. `record` is None when its result is not in the store any more; its identity is still known."""

    stage: str
    fingerprint: str
    record: Record | None
    inputs: dict[str, Origin] = field(default_factory=dict)


@dataclass(frozen=True)
class Lineage:
    """The way of one file."""

    file: str
    """Its path within the stage's output; "" when a whole stage was asked for."""
    origin: Origin

    def to_json(self) -> dict[str, Any]:
        """Plain data: every stage once, by fingerprint."""
        stages: dict[str, Any] = {}
        _collect(self.origin, stages)
        return {"file": self.file, "stage": self.origin.fingerprint, "stages": stages}

    def to_text(self) -> str:
        """A tree for people; a stage that stands on two branches is unfolded once."""
        head = f"{self.file}  from " if self.file else ""
        return "\n".join(_lines(self.origin, head, "", set()))


def lineage(store: Store, path: Path) -> Lineage:
    """The way of a file or a stage's folder.

    Raises:
        RecipeError: when the path does not exist, or nothing in the store has its bytes.
    """
    if not path.exists():
        raise RecipeError(f"no file or folder {path}", expected="a file of a store, or a copy of one")
    record, file = _within(store, path.absolute()) or _by_bytes(store, path)
    return Lineage(file, _origin(store, record, {}))


def _within(store: Store, path: Path) -> tuple[Record, str] | None:
    try:
        parts = Path(os.path.realpath(path)).relative_to(os.path.realpath(store.root)).parts
    except ValueError:
        return None
    if len(parts) < 2 or parts[0].startswith(".") or parts[0] == "runs":
        return None
    for record in store.records(parts[0]):
        if record.fingerprint[:SHORT] == parts[1]:
            return record, "/".join(parts[2:])
    return None


def _by_bytes(store: Store, path: Path) -> tuple[Record, str]:
    file = next((p for p in sorted(path.rglob("*")) if p.is_file()), path) if path.is_dir() else path
    digest = digest_of_file(file) if file.is_file() else ""
    for stage in store.stages():
        for record in store.records(stage):
            for name, entry in {**record.files, **record.observed}.items():
                if entry.sha256 == digest:
                    return record, name
    raise RecipeError(
        f"nothing in the store has the bytes of {file}",
        where=store.url,
        expected="a file that a run made",
        fix="name the store it came from with --store",
    )


def _origin(store: Store, record: Record, known: dict[str, Origin]) -> Origin:
    if record.fingerprint not in known:
        inputs = {}
        for role, entry in record.inputs.items():
            upstream = _producer(store, entry.stage, entry.fingerprint, entry.content_digest)
            missing = Origin(entry.stage, entry.fingerprint, None)
            inputs[role] = _origin(store, upstream, known) if upstream else missing
        known[record.fingerprint] = Origin(record.stage, record.fingerprint, record, inputs)
    return known[record.fingerprint]


def _producer(store: Store, stage: str, fingerprint: str, content: str) -> Record | None:
    """The stage that was read; when it is gone, another of the same name with the same content."""
    records = store.records(stage)
    same = [record for record in records if record.fingerprint == fingerprint]
    return next(iter(same or [record for record in records if record.content_digest == content]), None)


def _collect(origin: Origin, into: dict[str, Any]) -> None:
    if origin.fingerprint in into:
        return
    record = origin.record
    into[origin.fingerprint] = {
        "stage": origin.stage,
        "in_store": record is not None,
        "version": record.version if record else None,
        "content_digest": record.content_digest if record else None,
        "computed_at": record.finished_at.isoformat() if record else None,
        "code": record.code.function if record else None,
        "lmpipe": record.lmpipe if record else None,
        "inputs": {role: upstream.fingerprint for role, upstream in origin.inputs.items()},
        "sources": {name: entry.model_dump(mode="json") for name, entry in record.sources.items()} if record else {},
    }
    for upstream in origin.inputs.values():
        _collect(upstream, into)


def _lines(origin: Origin, head: str, indent: str, shown: set[str]) -> list[str]:
    seen = origin.fingerprint in shown
    shown.add(origin.fingerprint)
    lines = [f"{head}{_describe(origin)}{'  (unfolded above)' if seen and origin.inputs else ''}"]
    if seen or origin.record is None:
        return lines
    branches = [(f"{role}: ", upstream) for role, upstream in origin.inputs.items()]
    leaves = _sources(origin.record.sources)
    for position, (role, upstream) in enumerate(branches):
        last = position == len(branches) - 1 and not leaves
        nested = _lines(upstream, role, indent + ("    " if last else "│   "), shown)
        lines += [f"{indent}{'└── ' if last else '├── '}{nested[0]}", *nested[1:]]
    lines += [f"{indent}{'└── ' if leaf is leaves[-1] else '├── '}{leaf}" for leaf in leaves]
    return lines


def _describe(origin: Origin) -> str:
    short = origin.fingerprint[:SHORT]
    if origin.record is None:
        return f"{origin.stage} {short}  (no longer in the store)"
    return f"{origin.stage} {short}  version {origin.record.version}, {origin.record.finished_at:%Y-%m-%d %H:%M}"


def _sources(sources: dict[str, SourceEntry]) -> list[str]:
    named = [f"{name}  {entry.bytes:,} bytes  sha256 {entry.sha256[:SHORT]}" for name, entry in sources.items()]
    rest = len(named) - SHOWN
    return named if rest <= 1 else [*named[:SHOWN], f"and {rest} more raw files"]
