"""The control ids that shards carry in their header, so that whoever learns from them needs no tokenizer. Knows no library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from lmpipe.tokens.special import END_OF_TEXT, MASK, SPECIAL_TOKENS


@dataclass(frozen=True)
class Controls:
    """Ids that are no text."""

    start_of_text_id: int
    """The input before the first token of a document; often the same as end-of-text."""
    mask_id: int | None
    """Stands for a hidden token; None: the tokenizer has none."""
    special_ids: tuple[int, ...]
    """All of them, ascending: never hidden, never made up."""
    sentinel_ids: tuple[int, ...] = ()
    """Of `<extra_id_0>`, `<extra_id_1>`, ...: they stand for hidden spans."""

    @classmethod
    def ours(cls) -> Self:
        """Those of a tokenizer that lmpipe trained."""
        index = SPECIAL_TOKENS.index
        return cls(index(END_OF_TEXT), index(MASK), tuple(range(len(SPECIAL_TOKENS))))

    @classmethod
    def of_header(cls, header: Mapping[str, Any]) -> Self:
        """Those that a header of shards tells; one that tells none was written for ours."""
        found = header.get("controls")
        if found is None:
            return replace(cls.ours(), start_of_text_id=header["end_of_text_id"])
        lists = {name: tuple(found.get(name, ())) for name in ("special_ids", "sentinel_ids")}
        return cls(found["start_of_text_id"], found["mask_id"], **lists)

    def to_json(self) -> dict[str, Any]:
        """As the header tells them."""
        return {
            "start_of_text_id": self.start_of_text_id,
            "mask_id": self.mask_id,
            "special_ids": list(self.special_ids),
            **({"sentinel_ids": list(self.sentinel_ids)} if self.sentinel_ids else {}),
        }
