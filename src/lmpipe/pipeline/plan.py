"""What a run would do, and why: hit, miss, or depends on a stage that must run first. Computes and writes nothing.

An identity stands on the content of the inputs, so a stage behind a miss is not known yet: it may turn out to be a hit, when
its input comes out with the same bytes as before. What its own config says about it is told already.

Looks at records and file sizes, not at bytes: a damaged file of unchanged size is found by `run` (and by `verify`), not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from lmpipe.base.errors import DamagedError
from lmpipe.base.progress import Silent
from lmpipe.pipeline.changes import explain
from lmpipe.pipeline.fingerprint import fingerprint, identity
from lmpipe.pipeline.graph import order
from lmpipe.pipeline.record import Record
from lmpipe.pipeline.stage import Source, Stage
from lmpipe.pipeline.store import Store

EARLIER = 10
READ_AT_MOST = 256 << 20
"""Bytes of new raw text that a plan reads to know their digest; for more it says that it did not."""


@dataclass(frozen=True)
class PlanRow:
    """What would happen to one stage."""

    name: str
    status: Literal["hit", "miss", "depends"]
    reason: str
    """One line."""
    changes: list[str] = field(default_factory=list)
    """Differences to the nearest earlier result, field by field."""
    depends_on: list[str] = field(default_factory=list)
    """Inputs that are no hit."""
    fingerprint: str | None = None
    """None while it depends."""
    record: Record | None = None
    """Of a hit: what it took, for estimates."""
    cost_hint: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {
            "name": self.name,
            "status": self.status,
            "reason": self.reason,
            "changes": self.changes,
            "depends_on": self.depends_on,
            "fingerprint": self.fingerprint,
        }


def plan(stages: Sequence[Stage], store: Store) -> list[PlanRow]:
    """One row for every stage and everything it stands on, in the order of a run.

    Raises:
        RecipeError: for stages that make no graph.
        SourceError: from raw files that cannot be listed or read.
    """
    rows: dict[str, PlanRow] = {}
    for stage in order(stages):
        rows[stage.name] = _row(stage, rows, store)
    return list(rows.values())


def _row(stage: Stage, rows: Mapping[str, PlanRow], store: Store) -> PlanRow:
    earlier = store.records(stage.name, EARLIER)
    inputs = {role: rows[upstream.name].record for role, upstream in stage.inputs.items()}
    waits_for = list(dict.fromkeys(upstream.name for role, upstream in stage.inputs.items() if inputs[role] is None))
    sources = stage.sources() if stage.sources else []
    computed = bool(earlier) or store.has_results(stage.name)
    digests = _digests(sources, store) if computed else None
    content = {role: record.content_digest for role, record in inputs.items() if record}
    payload = identity(stage, content, digests or {})
    unknown = {"inputs"} if waits_for else set()
    unknown |= set() if digests is not None else {"sources"}
    changes = explain({key: value for key, value in payload.items() if key not in unknown}, earlier)
    row = PlanRow(stage.name, "miss", "never computed", changes, waits_for, cost_hint=stage.cost_hint)
    if waits_for:
        reason = f"depends on {', '.join(waits_for)}"
        return replace(row, status="depends", reason=reason if computed else f"{reason}; never computed")
    if not computed:
        return row if sources else replace(row, fingerprint=fingerprint(payload))
    if digests is None:
        size = sum(source.size for source in store.digests.unknown(sources))
        return replace(row, reason=f"{size / 1e9:.1f} GB of raw text were not read yet")
    return _looked_up(replace(row, fingerprint=fingerprint(payload)), store)


def _looked_up(row: PlanRow, store: Store) -> PlanRow:
    """The row of a stage whose identity is known and that has earlier results."""
    assert row.fingerprint is not None
    try:
        record = store.find(row.name, row.fingerprint)
    except DamagedError as error:
        return replace(row, reason=f"the stored result is damaged: {error.what}")
    if record is None:
        count = len(row.changes)
        return replace(row, reason=row.changes[0] if count == 1 else f"{count} differences to the nearest earlier result")
    if absent := store.absent(record):
        return replace(row, reason=f"the stored result is damaged: {absent[0]} is missing or has another size")
    return replace(row, status="hit", reason="in the store", changes=[], record=record)


def _digests(sources: list[Source], store: Store) -> dict[str, str] | None:
    """sha256 by name, or None when too much would have to be read."""
    if sum(source.size for source in store.digests.unknown(sources)) > READ_AT_MOST:
        return None
    return store.digests.digests(sources, Silent())
