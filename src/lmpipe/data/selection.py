"""Which documents stay: the `select` stage. All verdicts are applied here, in one place, and each one dropped is explained.

    documents  part-*.parquet --.
    measures   part-*.parquet ---+--> part-*.parquet      the documents that stay
    duplicates part-*.parquet --'  `-> dropped.parquet    id, source, rule, value, threshold, duplicate_of; never text
                                   `-> ledger.json

A document is dropped by the first rule that it breaks: duplicates first, then the bounds in the order of the recipe. A survivor
that breaks a bound takes its duplicates along: they are equal but for white space, and so would break it, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.base.errors import DamagedError
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.documents import TableWriter, part_name, tables_of
from lmpipe.data.filters.config import Rule, SelectConfig
from lmpipe.data.parts import PartTask, finish, run_over_parts
from lmpipe.data.tasks import Tick, save_ledger

DROPPED = "dropped.parquet"
DUPLICATE_RULE = "dedup.exact"
DROPPED_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("rule", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("duplicate_of", pa.string()),
    ]
)


def select(
    documents: Path,
    measures: Path | None,
    duplicates: Path | None,
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
        measures: folder with their scores; None where the config has no filters.
        duplicates: folder with their duplicates; None where none were looked for.
        output: an existing, empty folder.
        config: the bounds.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done.
        workers: at most so many processes; changes no byte.

    Raises:
        SourceError: when no document is left.
    """
    beside = (measures, duplicates)
    folders = run_over_parts(
        _select_part, documents, config, scratch / "select", workers=workers, progress=progress, beside=beside
    )
    ledger = finish(folders, output, "select")
    with TableWriter(output / DROPPED, DROPPED_SCHEMA) as writer:
        for folder in folders:
            for table in tables_of(folder / DROPPED):
                writer.write(table)
    return ledger


def _select_part(task: PartTask, folder: Path, tick: Tick) -> None:
    ledger, rules = Ledger(), task.config.rules()
    measures, duplicates = (tables_of(path) if path else None for path in task.beside)
    with (
        TableWriter(folder / part_name(0)) as kept_rows,
        TableWriter(folder / DROPPED, DROPPED_SCHEMA) as dropped_rows,
    ):
        for table in tables_of(task.part):
            scores, doubles = (next(tables, None) if tables else None for tables in (measures, duplicates))
            dropped = _dropped(table, scores, doubles, rules)
            reasons = dropped.column("rule").to_pylist()
            for length, reason in zip(_lengths(table), reasons, strict=True):
                if reason is None:
                    ledger.keep(length)
                else:
                    ledger.drop(reason, length)
            stays = pc.is_null(dropped.column("rule"))
            kept_rows.write(table.filter(stays))
            dropped_rows.write(dropped.filter(pc.invert(stays)))
            tick(table.num_rows)
    save_ledger(folder, ledger)


def _dropped(table: Any, scores: Any, doubles: Any, rules: Sequence[Rule]) -> Any:
    """One row per document in `DROPPED_SCHEMA`; `rule` is null where the document stays."""
    count = table.num_rows
    rule_of = np.full(count, None, dtype=object)
    value, threshold = np.full(count, np.nan), np.full(count, np.nan)
    duplicate_of = pa.nulls(count, pa.string())
    if doubles is not None:
        _check_aligned(table, doubles)
        duplicate_of = doubles.column("duplicate_of").combine_chunks()
        rule_of[np.asarray(duplicate_of.is_valid())] = DUPLICATE_RULE
    if scores is not None:
        _check_aligned(table, scores)
    for rule in rules:
        values = np.asarray(scores.column(rule.score), dtype=np.float64)
        breaks, bound = _breaks(rule, values)
        breaks &= rule_of == None  # noqa: E711 - elementwise
        rule_of[breaks], value[breaks], threshold[breaks] = rule.name, values[breaks], bound
    columns = [
        table.column("id").combine_chunks(),
        table.column("source").combine_chunks(),
        pa.array(rule_of, pa.string()),
        pa.array(value, pa.float64(), from_pandas=True),
        pa.array(threshold, pa.float64(), from_pandas=True),
        duplicate_of,
    ]
    return pa.table(columns, schema=DROPPED_SCHEMA)


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
