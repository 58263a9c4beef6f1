"""Canonical JSON and digests: the spelling on which identities stand.

One value has one spelling: sorted keys, no spaces, ASCII, floats as `repr` gives them (shortest round trip). What cannot be
spelled (NaN, infinity, sets, callables, arbitrary objects, non-string keys) is refused instead of guessed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> str:
    """The one spelling of `value`.

    >>> canonical_json({"b": 1e-4, "a": [True, None]})
    '{"a":[true,null],"b":0.0001}'

    Raises:
        TypeError: for a value without a canonical spelling; the message names the path to it.
    """
    _check(value, "$")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _check(value: Any, path: str) -> None:
    if value is None or isinstance(value, (bool, int, str)):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{path}: {value} has no canonical spelling; expected a finite number")
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{path}: key {key!r} is a {type(key).__name__}; expected a string")
            _check(item, f"{path}.{key}")
        return
    if isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            _check(item, f"{path}[{position}]")
        return
    raise TypeError(f"{path}: a {type(value).__name__} has no canonical spelling; expected plain JSON data")


def digest_of(value: Any) -> str:
    """sha256 (hex) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """sha256 (hex) of a file's bytes, read in chunks."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()


def digests_of_folder(folder: Path, *, skip: Iterable[str] = ()) -> dict[str, str]:
    """sha256 of every file below `folder`, by relative POSIX path, sorted; top-level names in `skip` are left out."""
    skipped = set(skip)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    relative = ((p, p.relative_to(folder)) for p in files)
    return {r.as_posix(): digest_of_file(p) for p, r in relative if r.parts[0] not in skipped}
