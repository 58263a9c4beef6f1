"""Classes made equally frequent in the training text: the `balance` stage.

    train/ (of a split) --> train/          with copies (ids get `+1`, `+2`, ...), or with fewer documents
    validation/ test/   --> the same
                       `--> balance.json    {method, classes: {class: {before, after}}, without_class: n}: of documents
                       `--> dropped.parquet  value: the hash of the id, as a share of all; threshold: below it, a document stays
                       `--> splits.json, composition.json, ledger.json

Which documents are repeated once more, or dropped, is decided by the hash of their ids, so it depends on no order; the counts
are exact. All pieces of a document share its fate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.data.columns import needed_for, values_of
from lmpipe.data.documents import TableWriter, group_key, part_name, tables_of, with_column
from lmpipe.data.dropped import dropped_rows, dropped_writer, gather_dropped
from lmpipe.data.mixing.config import BalanceConfig
from lmpipe.data.mixing.sides import Composition, finish_side
from lmpipe.data.parts import PartTask, run_over_parts
from lmpipe.data.ranks import nth, runs_of
from lmpipe.data.tasks import Tick, save_ledger

FACTS, KEYS, SURVEY = "balance.json", "keys.npy", "survey.json"
REASON, REPEATED = "balance.undersample", "oversample"
MOST_CLASSES = 10_000
Copies = tuple[int, int]
"""Times that every document of a class stands in the result, and the key below which one stands once more."""


def balance(
    split: Path, output: Path, *, config: BalanceConfig, seed: int, scratch: Path, progress: Progress, workers: int
) -> Ledger:
    """Make the classes of the training side equally frequent.

    Args:
        split: folder with `train/`, `validation/`, `test/`.
        output: an existing, empty folder.
        config: the column of the class, and the method.
        seed: of the hash that decides which documents.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done, twice over.
        workers: at most so many processes; changes no byte.

    Raises:
        SourceError: when no document has a class, or there are too many classes.
    """
    options: dict[str, Any] = {"workers": workers, "progress": progress}
    surveyed = run_over_parts(_survey_part, split / "train", (config, seed), scratch / "survey", **options)
    surveys = [read_json(folder / SURVEY) for folder in surveyed]
    keys = [np.load(folder / KEYS, mmap_mode="r", allow_pickle=False) for folder in surveyed]
    copies, classes = _copies(surveys, keys, config)
    done = run_over_parts(_balance_part, split / "train", (config, seed, copies), scratch / "balance", **options)
    without = sum(survey["without"] for survey in surveys)
    write_json(output / FACTS, {"method": config.method, "classes": classes, "without_class": without})
    gather_dropped(done, output)
    return finish_side(split, done, output, "balance")


def _survey_part(task: PartTask, folder: Path, tick: Tick) -> None:
    config, seed = task.config
    places: dict[str, tuple[str, int]] = {}
    without: set[str] = set()
    for table in tables_of(task.part, ["id", *needed_for(config.column)]):
        for group, label in zip(_groups(table), values_of(table, config.column), strict=True):
            if label is None:
                without.add(group)
            else:
                places[group] = (label, _key(seed, group))
        tick(table.num_rows)
    ordered = sorted(places.values())
    np.save(folder / KEYS, np.array([key for _, key in ordered], np.uint64), allow_pickle=False)
    write_json(folder / SURVEY, {"classes": runs_of([label for label, _ in ordered]), "without": len(without)})


def _copies(
    surveys: Sequence[Any], keys: Sequence[Any], config: BalanceConfig
) -> tuple[dict[str, Copies], dict[str, dict[str, int]]]:
    """For every class its copies, and its documents before and after."""
    names = sorted({name for survey in surveys for name in survey["classes"]})
    if not 1 <= len(names) <= MOST_CLASSES:
        raise _no_classes(len(names), config)
    here = {
        name: [part[slice(*survey["classes"].get(name, (0, 0)))] for survey, part in zip(surveys, keys, strict=True)]
        for name in names
    }
    sizes = {name: sum(map(len, parts)) for name, parts in here.items()}
    target = max(sizes.values()) if config.method == "oversample" else min(sizes.values())
    copies, classes = {}, {}
    for name, size in sizes.items():
        after = min(target, size * config.max_repeats)
        every, more = divmod(after, size)
        copies[name] = (every, nth(here[name], more) if more else 0)
        classes[name] = {"before": size, "after": after}
    return copies, classes


def _balance_part(task: PartTask, folder: Path, tick: Tick) -> None:
    config, seed, copies = task.config
    ledger, composition = Ledger(), Composition()
    with TableWriter(folder / part_name(0)) as writer, dropped_writer(folder) as gone:
        for table in tables_of(task.part):
            times = _times(table, config, seed, copies)
            for length, number in zip(pc.utf8_length(table.column("text")).to_pylist(), times, strict=True):
                if number:
                    ledger.keep(length)
                else:
                    ledger.drop(REASON, length)
                if number > 1:
                    ledger.make(REPEATED, length * (number - 1), number - 1)
            repeated = _repeated(table, times)
            composition.add(repeated)
            writer.write(repeated)
            gone.write(_dropped(table.filter([not number for number in times]), config, seed, copies))
            tick(table.num_rows)
    composition.save(folder)
    save_ledger(folder, ledger)


def _times(table: Any, config: BalanceConfig, seed: int, copies: Mapping[str, Copies]) -> list[int]:
    """How often each document stands in the result."""
    times = []
    for group, label in zip(_groups(table), values_of(table, config.column), strict=True):
        every, below = copies[label] if label is not None else (1, 0)
        times.append(every + (_key(seed, group) < below))
    return times


def _dropped(gone: Any, config: BalanceConfig, seed: int, copies: Mapping[str, Copies]) -> Any:
    """Documents of a class that has too many, with the hash that decided."""
    values = [_key(seed, group) / 2**64 for group in _groups(gone)]
    thresholds = [copies[label][1] / 2**64 for label in values_of(gone, config.column) if label is not None]
    return dropped_rows(gone, REASON, value=values, threshold=thresholds)


def _repeated(table: Any, times: Sequence[int]) -> Any:
    """The documents in their order, each as often as `times` says; copies stand directly after, under ids of their own."""
    rows = [row for row, number in enumerate(times) for _ in range(number)]
    ids = table.column("id").to_pylist()
    names = [ids[row] + (f"+{copy}" if copy else "") for row, number in enumerate(times) for copy in range(number)]
    return with_column(table.take(pa.array(rows, pa.int64())), "id", names)


def _groups(table: Any) -> list[str]:
    return [group_key(identity) for identity in table.column("id").to_pylist()]


def _key(seed: int, group: str) -> int:
    return derive_seed(seed, "balance", group)


def _no_classes(found: int, config: BalanceConfig) -> SourceError:
    return SourceError(
        f"'{config.column}' has {found:,} values among the training documents",
        where="balance",
        expected=f"1 to {MOST_CLASSES:,} classes",
        fix="name the column that holds the class (`meta_columns` of the source keeps it)",
    )
