"""The record of one computed stage: `record.json`, written last, the mark that its folder is complete.

It keeps the whole identity (so that a miss can be explained and a file traced), the digest of every output file, and what was
observed: code, versions, machine, time, memory, energy. Only identity and digests ever decide anything; the rest informs.
The file ends with a seal (sha256 of all bytes before it), so that one flipped bit anywhere in it is noticed.

Does not know: where stores are, how stages run.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lmpipe.base.canonical import digest_of
from lmpipe.base.errors import DamagedError, StoreError
from lmpipe.base.files import atomic_file
from lmpipe.pipeline.fingerprint import content_digest

RECORD = "record.json"
OBSERVED = "observed"
FORMAT_VERSION = 1
SEAL = re.compile(rb',\n  "seal": "([0-9a-f]{64})"\n}\n\Z')


class Part(BaseModel):
    """Base of the record's parts: frozen; keys of a later minor version are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, defer_build=True)


class FileEntry(Part):
    """One file of an output folder."""

    sha256: str
    bytes: int


class InputEntry(Part):
    """Which stage's output played a role. The identity holds only the content digest; the rest says where to look."""

    stage: str
    fingerprint: str
    content_digest: str


class SourceEntry(Part):
    """One raw file."""

    url: str
    sha256: str
    bytes: int


class Code(Part):
    """The code that ran: sha256 of the source of every module of the function's package that was loaded."""

    function: str
    modules: dict[str, str]


class Git(Part):
    """The repository around the working directory."""

    commit: str
    dirty: bool


class Machine(Part):
    """What it was computed on."""

    processor: str
    cores: int
    memory_bytes: int
    """What this process may use: the machine's memory, or less where a control group says so."""
    system: str
    host: str


class Energy(Part):
    """Energy of the stage."""

    watt_hours: float
    method: str
    estimated: bool
    """False only where a meter was read."""


class Record(Part):
    """Everything known about one computed stage."""

    format: str = "lmpipe-record"
    format_version: int = FORMAT_VERSION
    stage: str
    version: int
    fingerprint: str
    config: dict[str, Any]
    inputs: dict[str, InputEntry] = Field(default_factory=dict)
    sources: dict[str, SourceEntry] = Field(default_factory=dict)
    content_digest: str
    files: dict[str, FileEntry]
    observed: dict[str, FileEntry] = Field(default_factory=dict)
    facts: dict[str, Any] = Field(default_factory=dict)
    code: Code
    lmpipe: str
    python: str
    libraries: dict[str, str] = Field(default_factory=dict)
    machine: Machine
    runtime: dict[str, Any] = Field(default_factory=dict)
    argv: list[str] = Field(default_factory=list)
    git: Git | None = None
    started_at: datetime
    finished_at: datetime
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    """Of the largest single process of the stage."""
    energy: Energy

    def payload(self) -> dict[str, Any]:
        """The identity that was hashed: the same shape as `fingerprint.identity`."""
        return {
            "stage": self.stage,
            "version": self.version,
            "config": self.config,
            "inputs": {role: entry.content_digest for role, entry in self.inputs.items()},
            "sources": {name: entry.sha256 for name, entry in self.sources.items()},
        }

    def contradictions(self) -> list[str]:
        """Where the record does not agree with itself; empty for a true one."""
        found = []
        if digest_of(self.payload()) != self.fingerprint:
            found.append("the fingerprint is not the hash of the recorded config, version, inputs and sources")
        if content_digest({path: entry.sha256 for path, entry in self.files.items()}) != self.content_digest:
            found.append("the content digest is not the digest of the recorded files")
        return found


def write_record(folder: Path, record: Record) -> None:
    """Write `record.json` into `folder`, sealed and synced.

    Raises:
        StoreError: when the disk is full or the folder may not be written.
    """
    body = json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
    seal = hashlib.sha256(body.encode()).hexdigest()
    with atomic_file(folder / RECORD, "w", encoding="utf-8", newline="\n") as file:
        file.write(f'{body[:-2]},\n  "seal": "{seal}"\n}}\n')


def _is_sealed(data: bytes) -> bool:
    match = SEAL.search(data)
    return match is not None and hashlib.sha256(data[: match.start()] + b"\n}").hexdigest().encode() == match[1]


def read_record(path: Path) -> Record:
    """The record in a file.

    Raises:
        DamagedError: when it is not a sealed record, byte for byte as it was written.
        StoreError: when a newer lmpipe wrote it.
    """
    try:
        return parse_record(path.read_bytes(), str(path))
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror}", where=str(path)) from error


def parse_record(data: bytes, where: str) -> Record:
    """`read_record` on bytes that came from `where`."""
    try:
        value = json.loads(data)
        newer = value.get("format") == "lmpipe-record" and int(value.get("format_version", 0)) > FORMAT_VERSION
    except (ValueError, AttributeError, TypeError) as error:
        raise _damaged(where, "it is not a JSON object") from error
    sound = _is_sealed(data)
    if newer and sound:
        raise StoreError(
            f"{where} was written by a newer lmpipe",
            expected=f"record format {FORMAT_VERSION} or older",
            fix="update lmpipe, or use --store elsewhere",
        )
    if not sound:
        raise _damaged(where, "its bytes do not fit its seal")
    try:
        return Record.model_validate(value)
    except ValidationError as error:
        raise _damaged(where, f"{error.error_count()} fields are missing or of a wrong type") from error


def _damaged(where: str, why: str) -> DamagedError:
    return DamagedError(
        f"the record {where} is damaged: {why}",
        where=where,
        expected="the record as the stage's run wrote it",
        fix="run again: the stage is computed anew and the damaged folder kept under .damaged in the store",
    )
