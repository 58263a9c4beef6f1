"""What augmentation made, counted: of one part, then of all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmpipe.data.documents import Document
from lmpipe.data.generation.asking import Usage


@dataclass(frozen=True)
class NotMade:
    """Why there is no copy: one of few fixed phrases, so that they can be counted."""

    reason: str


UNCHANGED = NotMade("nothing was changed")
REPEATED = NotMade("equal to another copy")
NO_VALUE = NotMade("the document lacks a slot's value")


@dataclass
class Facts:
    """Counts that can be added in any order."""

    original: int = 0
    kinds: dict[str, Counter[str]] = field(default_factory=dict)
    not_made: dict[str, Counter[str]] = field(default_factory=dict)
    licences: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)
    """Of the metadata of documents that lacked a slot's value."""
    usage: dict[str, Usage] = field(default_factory=dict)

    def book(self, kind: str, made: Sequence[Document]) -> None:
        """New documents of one parent."""
        counts = self.kinds.setdefault(kind, Counter())
        counts.update(
            parents=bool(made),
            documents=len(made),
            characters=sum(len(document.text) for document in made),
            bytes=sum(len(document.text.encode()) for document in made),
        )
        self.licences.update(document.licence for document in made)
        self.languages.update(document.language for document in made)

    def usage_of(self, kind: str) -> Usage:
        """What the generator of a kind took; to be added to."""
        return self.usage.setdefault(kind, Usage())

    def refuse(self, kind: str, parent: Document, why: NotMade) -> None:
        """A copy that was not made."""
        self.not_made.setdefault(kind, Counter())[why.reason] += 1
        if why == NO_VALUE:
            self.keys.update(dict.fromkeys(json.loads(parent.meta or "{}"), 1))

    def add(self, other: Mapping[str, Any]) -> None:
        """Take in what `to_json` gave."""
        self.original += other["original"]
        for name in ("kinds", "not_made"):
            for kind, counts in other[name].items():
                getattr(self, name).setdefault(kind, Counter()).update(counts)
        for name in ("licences", "languages", "keys"):
            getattr(self, name).update(other[name])
        for kind, usage in other["usage"].items():
            self.usage_of(kind).add(usage)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "usage": {kind: usage.to_json() for kind, usage in self.usage.items()}}

    def only_lacked_values(self, kind: str) -> bool:
        """Whether nothing was made because no document had what the kind needs."""
        counts = self.kinds.get(kind, Counter())
        return bool(self.not_made.get(kind, Counter())[NO_VALUE.reason]) and not counts["documents"]

    def made(self, what: str) -> int:
        """New documents, characters or bytes of all kinds."""
        return sum(counts[what] for counts in self.kinds.values())
