"""Splits by rank: the oldest documents train and the newest test (`time`), or every stratum gets its exact shares (`stratum`).

    stratum "sports"    key: |----------- train -----------|- validation -|- test -|     ascending
    stratum "politics"  key: |------- train -------|- validation -|- test -|

By time there is one stratum and the key is the date; otherwise the key is the hash of the document's name. A document counts
once, however many pieces it has, and its pieces share their key, so they stay together; so do all documents of one instant.
Shares are rounded over the strata taken together: many small ones still give the right total, each within one document.

Two passes over the parts: keys, sorted, into a file beside each; then bisection for the two cuts of each stratum. Memory
follows the number of strata and one part, not the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json, write_json
from lmpipe.base.randomness import derive_seed
from lmpipe.data.columns import needed_for, values_of
from lmpipe.data.documents import group_key, tables_of
from lmpipe.data.parts import PartTask, run_over_parts
from lmpipe.data.ranks import Keys, keys_of_integers, nth, runs_of
from lmpipe.data.splitting.config import SplitConfig
from lmpipe.data.splitting.missing import Missing
from lmpipe.data.splitting.sides import SIDE, undecided
from lmpipe.data.tasks import Tick

KEYS, SURVEY = "keys.npy", "survey.json"
MOST_STRATA = 10_000
Place = tuple[str, int]
"""(stratum, key)"""


@dataclass(frozen=True)
class ByRank:
    """Where every key falls."""

    config: SplitConfig
    seed: int
    cuts: dict[str, tuple[int, int]]
    """For every stratum, the smallest keys of validation and of test."""

    def sides_of(self, table: Any) -> list[str]:
        """The side of each document of a table."""
        return ["train" if place is None else self._side(place) for place in _places(table, self.config, self.seed)]

    def _side(self, place: Place) -> str:
        validation, test = self.cuts[place[0]]
        return "train" if place[1] < validation else "validation" if place[1] < test else "test"


def plan_by_rank(
    documents: Path, config: SplitConfig, seed: int, scratch: Path, *, given: bool = False, **options: Any
) -> ByRank:
    """Look at the keys of all documents; where sides are `given`, of those whose source names none.

    Raises:
        SourceError: when documents have no value, or the column has too many to be strata.
    """
    folders = run_over_parts(_survey_part, documents, (config, seed, given), scratch / "survey", **options)
    surveys = [read_json(folder / SURVEY) for folder in folders]
    missing = Missing()
    for survey in surveys:
        missing.merge(Missing.from_json(survey["missing"]))
    missing.check(config)
    keys = [np.load(folder / KEYS, mmap_mode="r", allow_pickle=False) for folder in folders]
    return ByRank(config, seed, dict(_cuts(surveys, keys, config)))


def _cuts(surveys: Sequence[Any], keys: Sequence[Keys], config: SplitConfig) -> Iterator[tuple[str, tuple[int, int]]]:
    strata = sorted({name for survey in surveys for name in survey["strata"]})
    if len(strata) > MOST_STRATA:
        raise _too_many(strata, config)
    quota = _Quota((config.train, config.validation, config.test))
    for stratum in strata:
        here = [part[slice(*survey["strata"].get(stratum, (0, 0)))] for survey, part in zip(surveys, keys, strict=True)]
        train, validation, _ = quota.of(sum(map(len, here)))
        yield stratum, (nth(here, train), nth(here, train + validation))


class _Quota:
    """How many documents of each stratum fall on each side: its shares rounded down, and what is left over to the sides that
    are furthest behind, all strata so far taken together."""

    def __init__(self, shares: Sequence[float]) -> None:
        self.shares = shares
        self.size = 0
        self.given = [0] * len(shares)

    def of(self, size: int) -> list[int]:
        """The counts of the next stratum."""
        self.size += size
        counts = [int(share * size + 1e-9) for share in self.shares]
        for _ in range(size - sum(counts)):
            behind = [share * self.size - g - c for share, g, c in zip(self.shares, self.given, counts, strict=True)]
            counts[behind.index(max(behind))] += 1
        self.given = [g + c for g, c in zip(self.given, counts, strict=True)]
        return counts


def _survey_part(task: PartTask, folder: Path, tick: Tick) -> None:
    config, seed, given = task.config
    places: dict[str, Place] = {}
    missing = Missing()
    for table in tables_of(task.part, sorted({"id", *needed_for(config.column), *needed_for(SIDE if given else None)})):
        tick(table.num_rows)
        table = undecided(table, given)
        found = _places(table, config, seed)
        missing.look(table, found)
        groups = map(group_key, table.column("id").to_pylist())
        places.update((group, place) for group, place in zip(groups, found, strict=True) if place is not None)
    ordered = sorted(places.values())
    np.save(folder / KEYS, np.array([key for _, key in ordered], np.uint64), allow_pickle=False)
    write_json(folder / SURVEY, {"strata": runs_of([stratum for stratum, _ in ordered]), "missing": missing.to_json()})


def _places(table: Any, config: SplitConfig, seed: int) -> list[Place | None]:
    assert config.column is not None
    values = values_of(table, config.column)
    if config.by == "time":
        instants = [None if value is None else instant_of(value) for value in values]
        keys = keys_of_integers(np.array([instant or 0 for instant in instants], np.int64)).tolist()
        return [None if instant is None else ("", key) for instant, key in zip(instants, keys, strict=True)]
    groups = map(group_key, table.column("id").to_pylist())
    hashed = (derive_seed(seed, "split", group) for group in groups)
    return [None if value is None else (value, key) for value, key in zip(values, hashed, strict=True)]


def instant_of(text: str) -> int | None:
    """A date as microseconds since 1970, without a zone as UTC; None for what is no date.

    >>> instant_of("1970-01-02"), instant_of("1971"), instant_of("86400"), instant_of("yesterday")
    (86400000000, 31536000000000, 86400000000, None)
    """
    text = text.strip()
    try:
        if text.lstrip("-").replace(".", "", 1).isdigit() and len(text) != 4 and not _is_compact_date(text):
            return round(float(text) * 1e6) if abs(float(text)) < 1e12 else None
        date = datetime.fromisoformat(f"{text}-01-01" if len(text) == 4 else f"{text}-01" if len(text) == 7 else text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return round((date - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)


def _is_compact_date(text: str) -> bool:
    """`20210304`, which ISO 8601 allows; as seconds it would lie in August 1970."""
    return len(text) == 8 and text.isdigit() and "1900" <= text[:4] <= "2100" and "01" <= text[4:6] <= "12"


def _too_many(strata: Sequence[str], config: SplitConfig) -> SourceError:
    return SourceError(
        f"'{config.column}' has {len(strata):,} values: too many to give each its shares of three sides",
        where="split",
        expected=f"at most {MOST_STRATA:,} strata",
        fix="stratify by a coarser column, or say `by: group` where documents of one value belong together",
    )
