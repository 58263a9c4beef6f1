"""The interval of a difference between two models' bits per byte (perplexity, accuracy) on the same documents."""

from __future__ import annotations

import numpy as np

from lmpipe.base.measures import Interval
from lmpipe.evaluation.bootstrap import Floats, Resampling, interval_of, resampled_totals
from lmpipe.evaluation.config import SCORED_SPLITS, STATISTICS
from lmpipe.evaluation.metrics import statistic
from lmpipe.evaluation.units import Table


def paired_document_interval(name: str, first: Table, second: Table, resampling: Resampling) -> tuple[Interval | None, str]:
    """The interval of second minus first, and where there is none the reason.

    Args:
        name: the metric's.
        first: the sums of one model; documents are the same and in the same order as the other's.
        second: the sums of the other.
        resampling: equal resamples are drawn for both.
    """
    *_, before, kind = name.split(".")
    prefix = f"{before}_" if before not in SCORED_SPLITS else ""
    if kind not in STATISTICS or not all(f"{prefix}nats" in table.columns_U for table in (first, second)):
        return None, "a single number without parts to resample"
    if len(first.columns_U["bytes"]) != len(second.columns_U["bytes"]) or first.unit != second.unit:
        return None, "few documents, cut into blocks at different places by the two tokenizers: nothing to pair"
    if first.unit == "blocks" and not np.array_equal(first.columns_U["bytes"], second.columns_U["bytes"]):
        return None, "few documents, cut into blocks at different places by the two tokenizers: nothing to pair"
    values = [_resampled(kind, prefix, table, resampling) for table in (first, second)]
    paired = Resampling(resampling.resamples, resampling.level, resampling.seed, f"pairs of {first.unit}")
    return interval_of(values[1] - values[0], len(first.columns_U["bytes"]), paired), ""


def _resampled(kind: str, prefix: str, table: Table, resampling: Resampling) -> Floats:
    columns = {name: table.columns_U[name] for name in ("bytes", "tokens")}
    columns["nats"] = table.columns_U[f"{prefix}nats"]
    columns["correct"] = table.columns_U["correct"]
    totals_RC = resampled_totals(np.stack(list(columns.values()), axis=1), resampling)
    return statistic(kind, {name: totals_RC[:, column] for column, name in enumerate(columns)})
