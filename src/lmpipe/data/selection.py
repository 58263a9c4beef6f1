"""Which documents stay: the `select` stage. All verdicts are applied here, in one place, and each one dropped is explained.

    documents    part-*.parquet --.
    measures     part-*.parquet ---+--> part-*.parquet      the documents that stay
    exact, ...   part-*.parquet --'  `-> dropped.parquet    id, source, rule, value, threshold, duplicate_of,
                                     |                       found; never text
                                     `-> ledger.json

A document is dropped by the first rule that it breaks: duplicates first, then the bounds in the order of the recipe. Where the
first of a cluster of near duplicates breaks a bound, the next one that breaks none takes its place (`dedup/heirs.py`); the
cluster keeps its name. Exact duplicates go with their first: they are equal but for white space, and so would break it, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.base.errors import DamagedError
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.dedup.heirs import Claims, heirs_of
from lmpipe.data.documents import TableWriter, part_name, parts_of, tables_of
from lmpipe.data.dropped import DROPPED_SCHEMA, dropped_writer, gather_dropped
from lmpipe.data.filters.bounds import Rule
from lmpipe.data.filters.config import SelectConfig
from lmpipe.data.parts import PartTask, finish, run_over_parts, run_part_tasks
from lmpipe.data.tasks import Tick, save_ledger

LANGUAGE = "language.language"
UNKNOWN = "und"
"""ISO 639-2 for a language that nobody could determine."""
DUPLICATE_RULE = "dedup.{kind}"
UNMEASURED = "failed.measure"
"""A document without scores is not known to be good."""


def select(
    documents: Path,
    measures: Sequence[Path],
    duplicates: Mapping[str, Path],
    output: Path,
    *,
    config: SelectConfig,
    scratch: Path,
    progress: Progress,
    workers: int,
) -> Ledger:
    """Keep the documents that are no duplicates and break no bound.

    Args:
        documents: folder with parts of documents.
        measures: folders with their scores, each with other columns; none where the config has no filters.
        duplicates: folders with their duplicates, by kind, in the order in which they were looked for.
        output: an existing, empty folder.
        config: the bounds.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done.
        workers: at most so many processes; changes no byte.

    Raises:
        SourceError: when no document is left.
    """
    beside = (*duplicates.values(), *measures)
    task = (config, tuple(duplicates))
    options: dict[str, Any] = {"workers": workers, "progress": progress}
    heirs: Sequence[Any] = [()] * len(parts_of(documents))
    if config.rules() and set(duplicates) - {"exact"}:
        heirs = heirs_of(run_over_parts(_judge_part, documents, task, scratch / "judge", beside=beside, **options))
    tasks = [
        PartTask(part, (*task, some), tuple(folder / part.name for folder in beside))
        for part, some in zip(parts_of(documents), heirs, strict=True)
    ]
    folders = run_part_tasks(_select_part, tasks, scratch / "select", **options)
    ledger = finish(folders, output, "select")
    gather_dropped(folders, output)
    return ledger


def _judge_part(task: PartTask, folder: Path, tick: Tick) -> None:
    """Which firsts of clusters break a bound, and who waits for their places."""
    config, kinds = task.config
    claims, rules, row = Claims(), config.rules(), 0
    sidecars = [tables_of(path) for path in task.beside if path]
    for table in tables_of(task.part, ["id", "source"]):
        beside = [next(tables) for tables in sidecars]
        marked = _dropped(table, {}, dict(zip(kinds, beside[: len(kinds)], strict=True)), ())
        breaks = np.asarray(_dropped(table, _joined(table, beside[len(kinds) :]), {}, rules).column("rule").is_valid())
        first = np.asarray(marked.column("rule").is_null())
        near = ~first & (np.asarray(marked.column("rule")) != DUPLICATE_RULE.format(kind="exact"))
        waits = np.flatnonzero(near & ~breaks)
        firsts = marked.column("duplicate_of").take(pa.array(waits)).to_pylist()
        claims.add(table.column("id").filter(pa.array(first & breaks)).to_pylist(), (waits + row).tolist(), firsts)
        row += table.num_rows
        tick(table.num_rows)
    claims.save(folder)


def _select_part(task: PartTask, folder: Path, tick: Tick) -> None:
    config, kinds, heirs = task.config
    ledger, rules, row = Ledger(), config.rules(), 0
    sidecars = [tables_of(path) for path in task.beside if path]
    with (
        TableWriter(folder / part_name(0)) as kept_rows,
        dropped_writer(folder) as dropped_rows,
    ):
        for table in tables_of(task.part):
            beside = [next(tables) for tables in sidecars]
            marks, scores = dict(zip(kinds, beside[: len(kinds)], strict=True)), beside[len(kinds) :]
            inherits = np.isin(np.arange(row, row + table.num_rows), heirs)
            dropped = _dropped(table, _joined(table, scores), marks, rules, inherits)
            row += table.num_rows
            reasons = dropped.column("rule").to_pylist()
            for length, reason in zip(_lengths(table), reasons, strict=True):
                if reason is None:
                    ledger.keep(length)
                else:
                    ledger.drop(reason, length)
            stays = pc.is_null(dropped.column("rule"))
            kept_rows.write(_with_language(table, scores).filter(stays))
            dropped_rows.write(dropped.filter(pc.invert(stays)))
            tick(table.num_rows)
    save_ledger(folder, ledger)


def _joined(table: Any, sidecars: Sequence[Any]) -> dict[str, Any]:
    """The scores of all sidecars by name."""
    for sidecar in sidecars:
        _check_aligned(table, sidecar)
    return {name: sidecar.column(name) for sidecar in sidecars for name in sidecar.column_names if name != "id"}


def _with_language(table: Any, sidecars: Sequence[Any]) -> Any:
    """The documents, their language as it was found where it was looked for and found."""
    found = next((sidecar.column(LANGUAGE) for sidecar in sidecars if LANGUAGE in sidecar.column_names), None)
    if found is None:
        return table
    known = pc.if_else(pc.equal(found, UNKNOWN), table.column("language"), found)
    return table.set_column(table.column_names.index("language"), "language", known)


def _dropped(
    table: Any, scores: Mapping[str, Any], doubles: Mapping[str, Any], rules: Sequence[Rule], inherits: Any = False
) -> Any:
    """One row per document in `DROPPED_SCHEMA`; `rule` is null where the document stays. One that `inherits` is no
    duplicate."""
    count = table.num_rows
    rule_of = np.full(count, None, dtype=object)
    value, threshold = np.full(count, np.nan), np.full(count, np.nan)
    duplicate_of = np.full(count, None, dtype=object)
    for kind, marks in doubles.items():
        _check_aligned(table, marks)
        found = np.asarray(marks.column("duplicate_of").is_valid()) & ~np.asarray(inherits)
        found &= rule_of == None  # noqa: E711 - elementwise
        rule_of[found] = DUPLICATE_RULE.format(kind=kind)
        duplicate_of[found] = np.asarray(marks.column("duplicate_of"))[found]
        value[found], threshold[found] = (_numbers(marks, name)[found] for name in ("similarity", "threshold"))
    if scores:
        rule_of[_unmeasured(scores) & (rule_of == None)] = UNMEASURED  # noqa: E711 - elementwise
    words = np.full(count, None, dtype=object)
    for rule in rules:
        if rule.one_of is not None:
            spelled = np.array(scores[rule.score].to_pylist(), dtype=object)
            breaks = ~np.isin(spelled, np.array(rule.one_of, dtype=object)) & (rule_of == None)  # noqa: E711 - elementwise
            rule_of[breaks], words[breaks] = rule.name, spelled[breaks]
            continue
        values = np.asarray(scores[rule.score], dtype=np.float64)
        breaks, bound = _breaks(rule, values)
        breaks &= rule_of == None  # noqa: E711 - elementwise
        rule_of[breaks], value[breaks], threshold[breaks] = rule.name, values[breaks], bound
    columns = [
        table.column("id").combine_chunks(),
        table.column("source").combine_chunks(),
        pa.array(rule_of, pa.string()),
        pa.array(value, pa.float64(), from_pandas=True),
        pa.array(threshold, pa.float64(), from_pandas=True),
        pa.array(duplicate_of, pa.string()),
        pa.array(words, pa.string()),
    ]
    return pa.table(columns, schema=DROPPED_SCHEMA)


def _unmeasured(scores: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """Documents of which the measuring of some score failed: their rows are empty."""
    return np.asarray(np.logical_or.reduce([np.asarray(column.is_null()) for column in scores.values()]))


def _numbers(table: Any, name: str) -> npt.NDArray[np.float64]:
    """A column as it is, NaN where null."""
    return np.asarray(table.column(name).to_numpy(), dtype=np.float64)


def _breaks(rule: Rule, values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.bool_], float]:
    if rule.at_least is not None:
        return values < rule.at_least, rule.at_least
    assert rule.at_most is not None
    return values > rule.at_most, rule.at_most


def _lengths(table: Any) -> list[int]:
    return pc.utf8_length(table.column("text")).to_pylist()  # type: ignore[no-any-return]


def _check_aligned(table: Any, beside: Any) -> None:
    """Sidecars are matched by position, so a shifted one would condemn the wrong documents."""
    if not table.column("id").equals(beside.column("id")):
        raise DamagedError(
            "scores and documents are not aligned",
            expected="sidecars that were computed from these very documents",
            fix="remove the stage's folder from the store; the same command then computes it again",
        )
