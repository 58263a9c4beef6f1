"""Why a stage has no stored result: the difference to the nearest earlier one, field by field, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lmpipe.pipeline.record import Record

SHOWN = 5
"""Changed sources named one by one; more are counted."""
ABSENT = object()


def explain(payload: Mapping[str, Any], earlier: Sequence[Record]) -> list[str]:
    """How `payload` (possibly without inputs or sources that are not known yet) differs from the nearest of `earlier`.

    Nearest: the fewest differences; of equals, the newest, which stands first in `earlier`. Empty when there is none.
    """
    answers = [differences(record.payload(), payload) for record in earlier]
    return min(answers, key=len, default=[])


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Differences of two identities, as lines.

    >>> a = {"version": 1, "config": {"min_chars": 50}, "inputs": {}, "sources": {"x.py": "00"}}
    >>> differences(a, {"version": 1, "config": {"min_chars": 100}, "inputs": {}, "sources": {"x.py": "11"}})
    ['config.min_chars: 50 -> 100', 'source x.py changed']
    """
    lines = []
    if old["version"] != new["version"]:
        lines.append(f"version {old['version']} -> {new['version']}")
    lines += _values("config", old["config"], new["config"])
    if "inputs" in new:
        lines += _named("input", old["inputs"], new["inputs"])
    if "sources" in new:
        lines += _shortened(_named("source", old["sources"], new["sources"]))
    return lines


def _values(path: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [line for key in keys for line in _values(f"{path}.{key}", old.get(key, ABSENT), new.get(key, ABSENT))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for position, (a, b) in pairs for line in _values(f"{path}.{position}", a, b)]
    if old == new and type(old) is type(new):  # 1, 1.0 and True are spelled differently
        return []
    return [f"{path}: {_spell(old)} -> {_spell(new)}"]


def _spell(value: Any) -> str:
    if value is ABSENT:
        return "(absent)"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _named(kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    changed = [f"{kind} {name} changed" for name in new if name in old and old[name] != new[name]]
    added = [f"{kind} {name} added" for name in new if name not in old]
    removed = [f"{kind} {name} removed" for name in old if name not in new]
    return [*changed, *added, *removed]


def _shortened(lines: list[str]) -> list[str]:
    if len(lines) <= SHOWN + 1:
        return lines
    return [*lines[:SHOWN], f"{len(lines) - SHOWN} more sources changed, added or removed"]
