"""Cross-validation: documents on k folds, one of them the test side, and what is left divided into training and validation.

    split/train, validation, test --> all documents --> fold 1 | fold 2 | ... | fold k     fold n is test/ of the nth repeat
                                                        every tenth unit of the other folds is validation/

The unit that stays together is a document with all its pieces, or all documents of one group. Units are dealt in the order of
their hash: by stratum, one fold after the other and on from stratum to stratum, so that every fold has each stratum's share to
within one document (as scikit-learn's StratifiedKFold) and folds differ in size by one; groups go to the fold that is lightest
so far, so that folds differ by the largest group at most. Where a document falls depends on the seed, the repeat and the ids,
never on order, parts or workers. Ids are held in memory: cross-validation is for corpora that can be trained on k times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from lmpipe.base.errors import SourceError
from lmpipe.base.files import write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.randomness import derive_seed
from lmpipe.data.columns import needed_for, values_of
from lmpipe.data.documents import group_key, parts_of, tables_of
from lmpipe.data.splitting.config import SPLITS, SplitConfig
from lmpipe.data.splitting.dividing import Sides, finish
from lmpipe.data.splitting.fold_config import CrossValidationConfig

VALIDATION_OF = 10
"""One unit of so many of the other folds is validation text."""
Unit = tuple[str, str]
"""(stratum, name)"""


def deal(units: Mapping[Unit, int], *, folds: int, seed: int, repeat: int, grouped: bool) -> dict[Unit, tuple[int, bool]]:
    """The fold of every unit, and whether it is validation text while another fold is tested.

    >>> dealt = deal({("", name): 1 for name in "abcd"}, folds=2, seed=1, repeat=0, grouped=False)
    >>> sorted(fold for fold, _ in dealt.values())
    [0, 0, 1, 1]

    Args:
        units: documents of each unit.
        folds: how many.
        seed: of the recipe.
        repeat: from 0 on.
        grouped: whether units differ in size, so that the lightest fold is next.
    """
    ordered = sorted(units, key=lambda unit: (unit[0], derive_seed(seed, "fold", repeat, unit[1]), unit[1]))
    weights, rounds = [0] * folds, [0] * folds
    met: set[tuple[int, str]] = set()
    found = {}
    for position, unit in enumerate(ordered):
        fold = weights.index(min(weights)) if grouped else position % folds
        weights[fold] += units[unit]
        first = (fold, unit[0]) not in met  # it trains, so that no class is left to validation alone
        met.add((fold, unit[0]))
        found[unit] = (fold, not first and rounds[fold] % VALIDATION_OF == 0)
        rounds[fold] += not first
    return found


def divide_fold(
    splits: Path, output: Path, scratch: Path, *, config: CrossValidationConfig, seed: int, repeat: int, fold: int
) -> Ledger:
    """One fold as the test side of a division.

    Args:
        splits: folder of a division; its three sides are taken together.
        output: an existing, empty folder; holds what a division leaves.
        scratch: for files on the way.
        config: how many folds, and what stays together.
        seed: of the recipe.
        repeat: from 0 on.
        fold: from 0 on.

    Raises:
        SourceError: when documents have no value in the column, or there are too few units for the folds.
    """
    column = config.group or config.stratify
    units = Counter(unit for side in SPLITS for unit in _units(splits / side, column, grouped=config.group is not None))
    _check(units, config)
    dealt = deal(units, folds=config.folds, seed=seed, repeat=repeat, grouped=config.group is not None)
    folder = scratch / "fold"
    with Sides(folder, None) as sides:
        for side in SPLITS:
            for table in (table for part in parts_of(splits / side) for table in tables_of(part)):
                chosen = [_side(dealt[unit], fold) for unit in _units_of(table, column, config.group is not None)]
                for to in SPLITS:
                    sides.write(to, table.filter(pa.array([one == to for one in chosen], pa.bool_())))
                sides.book(table)
    write_json(output / "fold.json", {"fold": fold, "repeat": repeat, "units": len(units)})
    return finish([folder], output, SplitConfig())


def _side(place: tuple[int, bool], fold: int) -> str:
    return "test" if place[0] == fold else "validation" if place[1] else "train"


def _units(folder: Path, column: str | None, *, grouped: bool) -> Any:
    for part in parts_of(folder):
        for table in tables_of(part, sorted({"id", *needed_for(column)})):
            yield from _units_of(table, column, grouped)


def _units_of(table: Any, column: str | None, grouped: bool) -> list[Unit]:
    names = [group_key(identity) for identity in table.column("id").to_pylist()]
    if column is None:
        return [("", name) for name in names]
    values = values_of(table, column)
    if None in values:
        raise SourceError(
            f"{values.count(None):,} documents have no value in '{column}', by which cross-validation divides",
            where=f"cross_validation.{'group' if grouped else 'stratify'}",
            expected="a value for every document",
            fix="keep the column of the source by `meta_columns`, or name another one",
        )
    return [("", value) if grouped else (value, name) for value, name in zip(values, names, strict=True) if value is not None]


def _check(units: Mapping[Unit, int], config: CrossValidationConfig) -> None:
    what = "groups" if config.group else "documents"
    if len(units) < 2 * config.folds:
        raise SourceError(
            f"{config.folds} folds of {len(units)} {what} leave nothing to train or validate on",
            where="cross_validation.folds",
            expected=f"at least {2 * config.folds} {what}",
            fix="fewer folds, or more text",
        )
    sizes = Counter(stratum for stratum, _ in units)
    small = min(sizes, key=lambda stratum: (sizes[stratum], stratum))
    if config.stratify and sizes[small] < config.folds:
        raise SourceError(
            f"'{small}' has {sizes[small]} documents, too few for {config.folds} folds to have one each",
            where="cross_validation.stratify",
            expected=f"at least {config.folds} documents of every value of '{config.stratify}'",
            fix="fewer folds, or leave the rare values out",
        )
