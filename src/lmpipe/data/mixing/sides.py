"""Steps that change the training side of a split and leave the others as they are: what they share.

split/  train/ validation/ test/ splits.json composition.json  -->  the same, with another train/
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.base.files import read_json, storing, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.data.documents import parts_of, read_tables
from lmpipe.data.splitting.dividing import COMPOSITION, FACTS
from lmpipe.data.tasks import add_ledgers, gather_parts, save_ledger

HELD_OUT = ("validation", "test")
COMPOSED = {"licences": "licence", "languages": "language"}


class Composition:
    """Counts of the training side, gathered row group by row group."""

    def __init__(self) -> None:
        self.size = Counter(documents=0, characters=0, bytes=0)
        self.names: dict[str, Counter[str]] = {key: Counter() for key in COMPOSED}

    def add(self, table: Any) -> None:
        """Count the documents of a table."""
        text = table.column("text")
        self.size["documents"] += table.num_rows
        self.size["characters"] += pc.sum(pc.utf8_length(text)).as_py() or 0
        self.size["bytes"] += pc.sum(pc.binary_length(text.cast(pa.large_binary()))).as_py() or 0
        for key, column in COMPOSED.items():
            self.names[key].update(table.column(column).to_pylist())

    def save(self, folder: Path) -> None:
        """Leave the counts beside what was counted."""
        write_json(folder / COMPOSITION, {"size": self.size, **self.names})


def finish_side(split: Path, folders: Sequence[Path], output: Path, step: str) -> Ledger:
    """Gather the training side that the tasks wrote, and carry the other sides over. The account is of all three sides."""
    ledger = add_ledgers(folders)
    gather_parts(folders, output / "train")
    before = read_json(split / FACTS)
    names: dict[str, Counter[str]] = {key: Counter() for key in COMPOSED}
    size = Counter[str]()
    for one in (read_json(folder / COMPOSITION) for folder in folders):
        size.update(one["size"])
        for key, counter in names.items():
            counter.update(one[key])
    for side in HELD_OUT:
        _copy_parts(split / side, output / side)
        ledger.add(_kept(before[side]))
        for table in read_tables(split / side, list(COMPOSED.values())):
            for key, column in COMPOSED.items():
                names[key].update(table.column(column).to_pylist())
    ledger.close(where=step)
    write_json(output / FACTS, {"train": dict(size), **{side: before[side] for side in HELD_OUT}})
    write_json(output / COMPOSITION, {key: dict(sorted(counter.items())) for key, counter in names.items()})
    save_ledger(output, ledger)
    return ledger


def _kept(size: dict[str, int]) -> Ledger:
    rows, characters = size["documents"], size["characters"]
    return Ledger(rows_in=rows, rows_kept=rows, characters_in=characters, characters_kept=characters)


def _copy_parts(source: Path, target: Path) -> None:
    """A copy, not a link: a link would change the inputs' records of when they were changed."""
    with storing(target):
        target.mkdir(parents=True)
        for part in parts_of(source):
            shutil.copyfile(part, target / part.name)
