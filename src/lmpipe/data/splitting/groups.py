"""Splits in which a group falls where the hash of its name says: by document, by source, by a column's value.

No group stands on two sides, and more text moves no document. Rules in `sides.py`; here the pass over the parts that they need.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.base.files import read_json, write_json
from lmpipe.data.columns import needed_for, values_of
from lmpipe.data.documents import group_key, tables_of
from lmpipe.data.parts import PartTask, run_over_parts
from lmpipe.data.splitting.config import SPLITS, SplitConfig
from lmpipe.data.splitting.missing import Missing
from lmpipe.data.splitting.sides import SIDE, Survey, hash_of, side_of, stated_sides, undecided
from lmpipe.data.tasks import Tick

SURVEY = "survey.json"


@dataclass(frozen=True)
class ByHash:
    """Where every group falls."""

    config: SplitConfig
    seed: int
    exceptions: dict[str, str]
    """Groups that fill a side which would be empty without them."""

    def sides_of(self, table: Any) -> list[str]:
        """The side of each document of a table."""
        groups = _groups(table, self.config)
        sides: dict[str | None, str] = {None: "train"}
        for group in {group for group in groups if group is not None}:
            sides[group] = self.exceptions.get(group) or side_of(hash_of(self.seed, group), self.config)
        return [sides[group] for group in groups]


def plan_by_hash(
    documents: Path, config: SplitConfig, seed: int, scratch: Path, *, given: bool = False, **options: Any
) -> ByHash:
    """Look at the names of all groups; where sides are `given`, of those of documents whose source names none.

    Raises:
        SourceError: when there are fewer groups than sides, or documents without one.
    """
    survey, missing = Survey(), Missing()
    stated: set[str] = set()
    for folder in run_over_parts(_survey_part, documents, (config, seed, given), scratch / "survey", **options):
        found = read_json(folder / SURVEY)
        survey.merge(Survey({side: [(hashed, name) for hashed, name in found["groups"][side]] for side in SPLITS}))
        missing.merge(Missing.from_json(found["missing"]))
        stated |= set(found["stated"])
    missing.check(config)
    return ByHash(config, seed, survey.exceptions(config, stated))


def _survey_part(task: PartTask, folder: Path, tick: Tick) -> None:
    config, seed, given = task.config
    survey, missing = Survey(), Missing()
    stated: set[str] = set()
    columns = {"id", *needed_for("source" if config.by == "source" else config.column), *needed_for(SIDE if given else None)}
    for table in tables_of(task.part, sorted(columns)):
        tick(table.num_rows)
        stated |= {side for side in stated_sides(table, given) if side}
        table = undecided(table, given)
        groups = _groups(table, config)
        missing.look(table, groups)
        survey.add(((hash_of(seed, group), group) for group in set(groups) if group is not None), config)
    write_json(folder / SURVEY, {"groups": survey.groups, "missing": missing.to_json(), "stated": sorted(stated)})


def _groups(table: Any, config: SplitConfig) -> list[str | None]:
    if config.by == "source":
        return table.column("source").to_pylist()  # type: ignore[no-any-return]
    if config.column is not None:
        return values_of(table, config.column)
    return [group_key(identity) for identity in table.column("id").to_pylist()]
