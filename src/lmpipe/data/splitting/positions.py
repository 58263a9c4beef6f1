"""A corpus cut at two places, in its order: the split for one long text.

A document that holds such a place is cut at the last line end before it, and its parts get `/1`, `/2`, `/3` after their id.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from lmpipe.base.files import read_json, write_json
from lmpipe.data.documents import tables_of, with_column
from lmpipe.data.parts import PartTask, run_over_parts
from lmpipe.data.splitting.config import SPLITS, SplitConfig
from lmpipe.data.tasks import Tick

SURVEY = "survey.json"


def plan_positions(documents: Path, config: SplitConfig, scratch: Path, **options: Any) -> list[tuple[int, int]]:
    """For every part, where the two borders are, counted in characters from its beginning."""
    surveyed = run_over_parts(_survey_lengths, documents, None, scratch / "survey", **options)
    lengths = [read_json(folder / SURVEY) for folder in surveyed]
    total = sum(lengths)
    starts = list(accumulate(lengths, initial=0))[:-1]
    first, second = round(config.train * total), round((config.train + config.validation) * total)
    return [(first - start, second - start) for start in starts]


def _survey_lengths(task: PartTask, folder: Path, tick: Tick) -> None:
    characters = 0
    for table in tables_of(task.part, ["text"]):
        characters += sum(lengths_of(table))
        tick(table.num_rows)
    write_json(folder / SURVEY, characters)


def cut(document: Any, length: int, borders: Sequence[int]) -> list[tuple[str, Any]]:
    """One document on the sides where it belongs; in several parts if a border lies within it."""
    sides = [SPLITS[sum(border <= 0 for border in borders)]]
    cuts = [0]
    for border in borders:
        if 0 < border < length:
            text = document.column("text")[0].as_py()
            start = cuts[-1]
            cuts.append((text.rfind("\n", start, border) + 1) or (text.rfind(" ", start, border) + 1) or border)
            sides.append(SPLITS[SPLITS.index(sides[-1]) + 1])
    if len(cuts) == 1:
        return [(sides[0], document)]
    identity = document.column("id")[0].as_py()
    parts = []
    for number, (side, start, end) in enumerate(zip(sides, cuts, [*cuts[1:], length], strict=True), start=1):
        part = with_column(with_column(document, "text", [text[start:end]]), "id", [f"{identity}/{number}"])
        parts.append((side, part))
    return parts


def lengths_of(table: Any) -> list[int]:
    """Characters of each document."""
    return pc.utf8_length(table.column("text")).to_pylist()  # type: ignore[no-any-return]
