"""Identity: what makes two computations the same.

    fingerprint = sha256 of canonical JSON of
        {stage, version, config (every default spelled out), inputs {role: content digest}, sources {name: sha256}}
    content digest = sha256 of canonical JSON of {relative path: sha256} over a stage's output

Inputs enter by the content of their output, not by how it was made: an upstream edit that yields the same bytes changes nothing
downstream. Where and how a stage ran (`Runtime`, paths, host, clock) has no way in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmpipe.base.canonical import digest_of
from lmpipe.pipeline.stage import Stage

SHORT = 16
"""Hex digits of a fingerprint in folder names: 64 bits; the record holds all 256 and they are compared."""


def identity(stage: Stage, inputs: Mapping[str, str], sources: Mapping[str, str]) -> dict[str, Any]:
    """The payload that is hashed.

    Args:
        stage: what is computed.
        inputs: content digest by role.
        sources: sha256 by source name.
    """
    return {
        "stage": stage.name,
        "version": stage.version,
        "config": stage.config.model_dump(mode="json"),
        "inputs": dict(inputs),
        "sources": dict(sources),
    }


def fingerprint(payload: Mapping[str, Any]) -> str:
    """sha256 (hex) of a payload of `identity`.

    Raises:
        TypeError: when the config holds what canonical JSON cannot spell.
    """
    return digest_of(payload)


def content_digest(files: Mapping[str, str]) -> str:
    """One digest for a folder, from sha256 by relative POSIX path.

    >>> content_digest({"a": "00", "b": "11"}) == content_digest({"b": "11", "a": "00"})
    True
    """
    return digest_of(dict(files))
