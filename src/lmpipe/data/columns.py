"""The value of a named column for every document: one of the schema's own, or a key of its metadata.

Knows documents as tables; not what a value is used for.
"""

from __future__ import annotations

import json
from typing import Any

OWN_COLUMNS = ("source", "licence", "language")
"""Columns of every document that a name means where the document's metadata has no key of that name."""


def needed_for(column: str | None) -> list[str]:
    """The columns of the schema that `values_of` reads."""
    if column is None:
        return []
    return ["meta", column] if column in OWN_COLUMNS else ["meta"]


def values_of(table: Any, column: str) -> list[str | None]:
    """What each document says in a column, as text; None where it says nothing.

    `{"year": 2019}` gives "2019" for the column `year`, `{"year": ""}` and `{}` give None. What a source's own column says,
    kept by `meta_columns`, comes before the column of the schema: a `source` of the data means more than the file's name.
    """
    key = json.dumps(column, ensure_ascii=False)  # most documents without the key need no parsing to tell
    found = [
        _spelled(json.loads(meta).get(column)) if meta and key in meta else None for meta in table.column("meta").to_pylist()
    ]
    if column in OWN_COLUMNS:
        own = table.column(column).to_pylist()
        return [value if value is not None else given or None for value, given in zip(found, own, strict=True)]
    return found


def _spelled(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
