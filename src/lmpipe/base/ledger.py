"""The account of rows: in = kept + dropped{reason} + failed{error}. Every data stage closes one, or it does not finish.

What a step makes of its rows stands beside the account, in added{how}: what comes out is kept + added.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lmpipe.base.errors import SourceError, StageError


@dataclass
class Ledger:
    """Counts of documents through one step. Merge-able, so shards can be counted apart and added in any order."""

    rows_in: int = 0
    rows_kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    characters_in: int = 0
    characters_kept: int = 0
    added: Counter[str] = field(default_factory=Counter)
    """Rows that were not among those that went in: copies, by how they were made."""
    characters_added: int = 0

    def keep(self, characters_in: int, characters_kept: int | None = None) -> None:
        """Book one kept document."""
        self.rows_in += 1
        self.rows_kept += 1
        self.characters_in += characters_in
        self.characters_kept += characters_in if characters_kept is None else characters_kept

    def drop(self, reason: str, characters: int = 0) -> None:
        """Book one document that a rule removed."""
        self.rows_in += 1
        self.dropped[reason] += 1
        self.characters_in += characters

    def fail(self, error: str) -> None:
        """Book one document that could not be processed."""
        self.rows_in += 1
        self.failed[error] += 1

    def make(self, how: str, characters: int, rows: int = 1) -> None:
        """Book rows that were made from others."""
        self.added[how] += rows
        self.characters_added += characters

    @property
    def rows_out(self) -> int:
        """What the next step gets."""
        return self.rows_kept + self.added.total()

    def add(self, other: Ledger) -> None:
        """Add another ledger's counts to this one."""
        self.rows_in += other.rows_in
        self.rows_kept += other.rows_kept
        self.dropped.update(other.dropped)
        self.failed.update(other.failed)
        self.characters_in += other.characters_in
        self.characters_kept += other.characters_kept
        self.added.update(other.added)
        self.characters_added += other.characters_added

    def close(self, *, max_failed_fraction: float | None = None, where: str = "") -> None:
        """Check the account.

        Raises:
            StageError: when rows in differ from kept + dropped + failed: a defect of the step, never of the data.
            SourceError: when more than `max_failed_fraction` of the rows failed.
        """
        out = self.rows_kept + self.dropped.total() + self.failed.total()
        if out != self.rows_in:
            raise StageError(f"{self.rows_in} documents went in and {out} are accounted for", where=where)
        if max_failed_fraction is not None and self.failed.total() > max_failed_fraction * self.rows_in:
            errors = ", ".join(f"{count} x {error}" for error, count in self.failed.most_common(5))
            raise SourceError(
                f"{self.failed.total()} of {self.rows_in} documents could not be processed: {errors}",
                where=where,
                expected=f"at most {max_failed_fraction:.2%} failures",
                fix="repair or remove the inputs listed in failures.jsonl, or raise max_failed_fraction",
            )

    def to_json(self) -> dict[str, Any]:
        """Plain data for records and reports; reasons sorted, so equal accounts have equal bytes."""
        added = {"added": dict(sorted(self.added.items())), "characters_added": self.characters_added}
        return {
            "rows_in": self.rows_in,
            "rows_kept": self.rows_kept,
            "dropped": dict(sorted(self.dropped.items())),
            "failed": dict(sorted(self.failed.items())),
            "characters_in": self.characters_in,
            "characters_kept": self.characters_kept,
            **(added if self.added else {}),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Ledger:
        """The inverse of `to_json`."""
        counters = {key: Counter(value.get(key, {})) for key in ("dropped", "failed", "added")}
        return cls(**{**value, **counters})
