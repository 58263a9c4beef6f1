"""Less training text: nested subsets of a training side, for learning curves. Validation and test text stay as they are.

Documents (with all their pieces) are taken in the order of their hash, of each stratum its share, rounded up: a smaller share
lies within every larger one, and no class is lost. Which documents depends on the seed and the ids alone. The ledger counts
what is left: a subset on purpose drops nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from lmpipe.base.ledger import Ledger
from lmpipe.base.randomness import derive_seed
from lmpipe.data.columns import needed_for, values_of
from lmpipe.data.documents import group_key, parts_of, tables_of
from lmpipe.data.splitting.config import SPLITS, SplitConfig
from lmpipe.data.splitting.dividing import Sides, finish


def take_share(splits: Path, output: Path, scratch: Path, *, share: float, column: str | None, seed: int) -> Ledger:
    """A division with a share of its training documents.

    Args:
        splits: folder of a division.
        output: an existing, empty folder; holds what a division leaves.
        scratch: for files on the way.
        share: of the training documents, above 0.
        column: whose values keep their shares; None: none.
        seed: of the recipe.
    """
    strata: dict[str, set[str]] = defaultdict(set)
    for part in parts_of(splits / "train"):
        for table in tables_of(part, sorted({"id", *needed_for(column)})):
            for stratum, name in _units_of(table, column):
                strata[stratum].add(name)
    kept = set()
    for names in strata.values():
        ordered = sorted(names, key=lambda name: (derive_seed(seed, "share", name), name))
        kept.update(ordered[: math.ceil(share * len(ordered))])
    folder = scratch / "share"
    with Sides(folder, None) as sides:
        for side in SPLITS:
            for table in (table for part in parts_of(splits / side) for table in tables_of(part)):
                if side == "train":
                    table = table.filter(pa.array([name in kept for _, name in _units_of(table, None)], pa.bool_()))
                sides.write(side, table)
                sides.book(table)
    return finish([folder], output, SplitConfig())


def _units_of(table: Any, column: str | None) -> list[tuple[str, str]]:
    names = [group_key(identity) for identity in table.column("id").to_pylist()]
    values = values_of(table, column) if column else [""] * len(names)
    return [(value or "", name) for value, name in zip(values, names, strict=True)]
