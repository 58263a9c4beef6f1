"""Tokenizers side by side on the same texts: how long their tokens are, what comes back, what is unknown, what is used.

    fertility              tokens per word, words being what white space separates (Rust et al. 2021, section 3)
    round_trip_fraction    of the documents: those that come back exactly by `decode`
    unknown_fraction       of the tokens: those that stand for unknown text
    used_fraction          of the vocabulary: ids that occur

Reads the texts once, in batches; keeps counts alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from lmpipe.tokens.tokenizer import Tokenizer

ALL = "all"
"""The group that every document is in."""
BATCH = 256
"""Documents encoded at once."""


@dataclass
class Counts:
    """What was counted of one tokenizer in one group."""

    documents: int = 0
    words: int = 0
    characters: int = 0
    bytes: int = 0
    tokens: int = 0
    unknown: int = 0
    back: int = 0
    used: set[int] = field(default_factory=set)

    def add(self, text: str, ids: list[int], *, unknown_id: int | None, back: bool) -> None:
        """Count one document."""
        self.documents += 1
        self.words += len(text.split())
        self.characters += len(text)
        self.bytes += len(text.encode("utf-8"))
        self.tokens += len(ids)
        self.unknown += 0 if unknown_id is None else ids.count(unknown_id)
        self.back += back
        self.used.update(ids)

    def row(self, vocab_size: int) -> dict[str, Any]:
        """The shares; None where there is nothing to divide by."""
        return {
            "documents": self.documents,
            "bytes": self.bytes,
            "tokens": self.tokens,
            "fertility": _ratio(self.tokens, self.words),
            "bytes_per_token": _ratio(self.bytes, self.tokens),
            "characters_per_token": _ratio(self.characters, self.tokens),
            "round_trip_fraction": _ratio(self.back, self.documents),
            "unknown_fraction": _ratio(self.unknown, self.tokens),
            "used_fraction": _ratio(len(self.used), vocab_size),
        }


def compare_tokenizers(tokenizers: Mapping[str, Tokenizer], documents: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """A row for each tokenizer and group, `all` first and the others in the order of their names.

    Args:
        tokenizers: by what they are to be called.
        documents: (group, text) of each document; the group may be empty.
    """
    counts: dict[str, dict[str, Counts]] = {name: {ALL: Counts()} for name in tokenizers}
    for batch in _batches(documents):
        texts = [text for _, text in batch]
        for name, tokenizer in tokenizers.items():
            for (group, text), ids in zip(batch, tokenizer.encode_batch(texts), strict=True):
                back = tokenizer.lossless or tokenizer.decode(ids) == text
                for where in {ALL, group or ALL}:
                    counted = counts[name].setdefault(where, Counts())
                    counted.add(text, ids, unknown_id=tokenizer.unknown_id, back=back)
    rows = []
    for name, groups in counts.items():
        size = tokenizers[name].vocab_size
        for group in (ALL, *sorted(groups.keys() - {ALL})):
            rows.append({"tokenizer": name, "group": group, "vocab_size": size, **groups[group].row(size)})
    return rows


def _batches(documents: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    iterator = iter(documents)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
