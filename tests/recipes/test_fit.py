"""The overfitting watch: a curve's file and leaks between the sides, as `judge_fit` is handed them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmpipe.data.splitting.leakage import FACTS, LEAKS
from lmpipe.recipes.fit import curve_of, leaked_share

SIZES = {"train": {"documents": 100}, "validation": {"documents": 10}, "test": {"documents": 10}}


def test_a_validation_stands_beside_the_training_losses_just_before_it(tmp_path: Path) -> None:
    rows = [{"step": step, "loss": float(step)} for step in range(1, 13)]
    rows += [{"step": 12, "validation_loss": 9.0}, {"step": 13, "loss": float("inf")}, {"step": 13, "validation_loss": 0.0}]
    (tmp_path / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (point,) = curve_of(tmp_path / "curve.jsonl")
    assert (point.step, point.validation, point.train) == (12, 9.0, pytest.approx(7.5))


def test_leaks_count_each_held_out_text_once(tmp_path: Path) -> None:
    assert leaked_share(tmp_path, SIZES) is None, "nobody looked"
    rows = [
        ("a", "train", "x", "test"),
        ("b", "train", "x", "test"),
        ("c", "validation", "y", "test"),
        ("d", "train", "z", "validation"),
    ]
    pq.write_table(
        pa.Table.from_pylist([dict(zip(("id", "side", "of", "of_side"), row, strict=True)) for row in rows]), tmp_path / LEAKS
    )
    (tmp_path / FACTS).write_text(json.dumps({"action": "report"}))
    assert leaked_share(tmp_path, SIZES) == 2 / 20
    (tmp_path / FACTS).write_text(json.dumps({"action": "drop"}))
    assert leaked_share(tmp_path, SIZES) == 0.0, "they were taken out"
