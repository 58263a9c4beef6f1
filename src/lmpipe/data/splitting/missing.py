"""Documents without a value in the column that a split reads: counted, the first few named, refused unless told otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lmpipe.base.errors import SourceError
from lmpipe.data.splitting.config import SplitConfig

SHOWN = 3


@dataclass
class Missing:
    """How many documents have no value, and the ids of the first ones."""

    count: int = 0
    ids: list[str] = field(default_factory=list)

    def look(self, table: Any, values: Sequence[object]) -> None:
        """Take in the rows whose value is None."""
        rows = [row for row, value in enumerate(values) if value is None]
        self.count += len(rows)
        if rows and len(self.ids) < SHOWN:
            self.ids += table.column("id").take(rows[: SHOWN - len(self.ids)]).to_pylist()

    def merge(self, other: Missing) -> None:
        """Take in what was seen in a later part."""
        self.count += other.count
        self.ids = [*self.ids, *other.ids][:SHOWN]

    def check(self, config: SplitConfig) -> None:
        """Refuse documents without a value, where the split says so.

        Raises:
            SourceError: with their number and the first ids.
        """
        if self.count and config.without_value == "refuse":
            readable = "readable date" if config.by == "time" else "value"
            raise SourceError(
                f"{self.count} documents have no {readable} in '{config.column}': {', '.join(self.ids)}",
                where="split",
                expected=f"a {readable} for every document",
                fix="keep the column (`meta_columns` of the source), or say `without_value: train`",
            )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"count": self.count, "ids": self.ids}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Missing:
        """The inverse of `to_json`."""
        return cls(value["count"], value["ids"])
