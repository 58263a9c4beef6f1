"""How long a tokenizer's tokens are in each part of a text: by source, by language.

    groups.json   [{by, group, documents, bytes, words, tokens}]   of held-out text, the largest groups of each kind

Counted from shards that are there already: nothing is encoded again. Words are what white space separates (`comparing.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmpipe.tokens.documents import column_names, read_tables
from lmpipe.tokens.shards import TokenShards

GROUPS = "groups.json"
BY = ("source", "language")
"""Columns of documents that say what a group is."""
MOST = 20
"""Groups of a kind that are told, those with the most text."""


def count_groups(documents: Path, shards: TokenShards) -> list[dict[str, Any]]:
    """A row for each source and each language, largest first.

    Args:
        documents: a folder with parts of documents.
        shards: their tokens, in the same order, each document closed by an end token.
    """
    kinds = [name for name in BY if name in column_names(documents)]
    counts: dict[tuple[str, str], list[int]] = {}
    for length, (text, groups) in zip(shards.document_lengths().tolist(), _texts(documents, kinds), strict=True):
        sizes = (1, len(text.encode("utf-8")), len(text.split()), length - 1)
        for kind, group in zip(kinds, groups, strict=True):
            if group:
                kept = counts.setdefault((kind, group), [0, 0, 0, 0])
                kept[:] = [one + more for one, more in zip(kept, sizes, strict=True)]
    rows = []
    for kind in kinds:
        found = sorted(
            ((sizes, name) for (by, name), sizes in counts.items() if by == kind), key=lambda row: (-row[0][1], row[1])
        )
        for (number, size, words, tokens), name in found[:MOST]:
            rows.append({"by": kind, "group": name, "documents": number, "bytes": size, "words": words, "tokens": tokens})
    return rows


def _texts(documents: Path, kinds: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for batch in read_tables(documents, ["text", *kinds]):
        texts, *groups = (batch.column(name).to_pylist() for name in ("text", *kinds))
        for row, text in enumerate(texts):
            yield text or "", tuple(group[row] or "" for group in groups)
