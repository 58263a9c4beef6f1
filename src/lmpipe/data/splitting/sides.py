"""On which side of a split a group falls: by a hash of its name, so that order, number and other groups do not matter.

    0 |-- test --|-- validation --|------------------ train ------------------| 1     unit_interval(seed, "split", group)

A side that would stay empty borrows: test and validation the group with the smallest hash of what lies above them, training
the one with the largest. For that, only the few smallest and largest groups of each side need to be known, never all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from lmpipe.base.randomness import unit_interval
from lmpipe.data.columns import values_of
from lmpipe.data.splitting.config import SPLITS, SplitConfig, too_few

SIDE = "side"
"""The key of a document's metadata that holds the side on which its source puts it."""
KNOWN = 3
"""Groups kept at each end of a side: more than can be borrowed from it."""
Group = tuple[float, str]
"""(hash in [0, 1), name)"""


def hash_of(seed: int, group: str) -> float:
    """Where a group falls in [0, 1)."""
    return unit_interval(seed, "split", group)


def stated_sides(table: Any, given: bool) -> list[str | None]:
    """The side on which its source puts each document; None where the division decides."""
    return values_of(table, SIDE) if given else [None] * table.num_rows


def undecided(table: Any, given: bool) -> Any:
    """The documents that the division decides about."""
    if not given:
        return table
    return table.filter([side is None for side in stated_sides(table, given)])


def sides_with_stated(table: Any, given: bool, decide: Callable[[Any], list[str]]) -> list[str]:
    """The side of each document: stated by its source, or decided."""
    if not given:
        return decide(table)
    decided = iter(decide(undecided(table, given)))
    return [side or next(decided) for side in stated_sides(table, given)]


def side_of(position: float, config: SplitConfig) -> str:
    """The side on which a hash falls."""
    if position < config.test:
        return "test"
    return "validation" if position < config.test + config.validation else "train"


@dataclass
class Survey:
    """The smallest and the largest groups of each side. Two surveys can be merged, in any order."""

    groups: dict[str, list[Group]] = field(default_factory=lambda: {side: [] for side in SPLITS})

    def add(self, found: Iterable[Group], config: SplitConfig) -> None:
        """Take groups in; seeing one twice changes nothing."""
        for group in found:
            self.groups[side_of(group[0], config)].append(group)
        self._forget()

    def merge(self, other: Survey) -> None:
        """Take in what another survey saw."""
        for side in SPLITS:
            self.groups[side] += other.groups[side]
        self._forget()

    def _forget(self) -> None:
        for side, groups in self.groups.items():
            distinct = sorted(set(groups))
            self.groups[side] = distinct if len(distinct) <= 2 * KNOWN else distinct[:KNOWN] + distinct[-KNOWN:]

    def exceptions(self, config: SplitConfig, stated: AbstractSet[str] = frozenset()) -> dict[str, str]:
        """Groups that do not stay where their hash falls, because a side would be empty without them.

        Args:
            config: the shares.
            stated: sides that have documents already, because sources put them there.

        Raises:
            SourceError: when there are fewer groups than sides that need one.
        """
        known = {side: list(groups) for side, groups in self.groups.items()}
        wanted = [side for side in SPLITS if config.share(side) and side not in stated]
        if sum(map(len, known.values())) < len(wanted):
            raise too_few(sum(map(len, known.values())), len(wanted), config)
        if "test" in wanted and not known["test"]:
            known["test"].append(known["validation" if known["validation"] else "train"].pop(0))
        if "validation" in wanted and not known["validation"]:
            known["validation"].append(known["train"].pop(0) if known["train"] else known["test"].pop())
        if "train" in wanted and not known["train"]:
            known["train"].append(known["validation" if len(known["validation"]) > 1 else "test"].pop())
        return {name: side for side in SPLITS for hashed, name in known[side] if side_of(hashed, config) != side}
