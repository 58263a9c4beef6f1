"""Learning curves: the law is found where it holds, and the answer says no more than the items show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmpipe.base.errors import RecipeError
from lmpipe.evaluation.bootstrap import Resampling
from lmpipe.evaluation.classification import classified
from lmpipe.evaluation.examples import ExampleLayout, ExampleWriter
from lmpipe.evaluation.learning_curve import Learning, fit_power_law, measure_learning
from lmpipe.evaluation.measuring import evaluate_examples

SIZES = (100, 300, 1000)


def answered(folder: Path, wrong: int, count: int = 2000, first_id: int = 0) -> Path:
    folder.mkdir(parents=True)
    truth = ["no", "yes"] * (count // 2)
    said = [truth[n - 1] if n < wrong else truth[n] for n in range(count)]
    with ExampleWriter(folder, ExampleLayout(kind="classification", subject="x.test", classes=("no", "yes"))) as writer:
        writer.add([f"{first_id + n:05d}" for n in range(count)], classified(("no", "yes"), truth, predictions=said))
    evaluate_examples(folder)
    return folder


def learned(tmp_path: Path, wrongs: tuple[int, ...], count: int = 2000) -> Learning:
    folders = [answered(tmp_path / str(n), wrong, count) for n, wrong in enumerate(wrongs)]
    found = measure_learning(folders, SIZES[: len(wrongs)], "x.test", Resampling(resamples=200, seed=1))
    return next(one for one in found if one.statistic == "accuracy")


def test_the_law_of_made_up_curves_is_found() -> None:
    sizes = np.array([10.0, 100.0, 1000.0, 5000.0])
    log_a, b = fit_power_law(sizes, np.stack([3 * sizes**-0.5, 0.7 * sizes**0.0, 2 * sizes**0.1]))
    assert np.exp(log_a) == pytest.approx([3, 0.7, 2])
    assert b == pytest.approx([0.5, 0, -0.1], abs=1e-12)
    slope, intercept = np.polyfit(np.log(sizes), np.log([0.5, 0.3, 0.25, 0.1]), 1)
    log_a, b = fit_power_law(sizes, np.array([[0.5, 0.3, 0.25, 0.1]]))
    assert (log_a[0], b[0]) == (pytest.approx(intercept), pytest.approx(-slope))


def test_more_data_helps_and_by_how_much(tmp_path: Path) -> None:
    found = learned(tmp_path, (800, 462, 253))  # errors of .4 n^-0.5 from 100 on
    assert found.exponent == pytest.approx(0.5, abs=0.01)
    assert found.doubled == pytest.approx(1 - 0.1265 / np.sqrt(2), abs=0.002)
    assert found.helps == "yes"
    assert found.doubled_interval is not None
    assert found.doubled_interval.low < found.doubled < found.doubled_interval.high
    assert found.fitted == pytest.approx(found.values, abs=0.003)


def test_what_is_not_shown_is_not_said(tmp_path: Path) -> None:
    assert learned(tmp_path / "flat", (12, 11, 12), 60).helps == "not shown"
    assert learned(tmp_path / "worse", (200, 400, 800)).helps == "no"
    all_right = learned(tmp_path / "right", (20, 5, 0))
    assert (all_right.exponent, all_right.helps) == (None, "not shown"), "an error of 0 has no logarithm"
    assert learned(tmp_path / "bent", (1000, 1000, 500)).helps == "not shown", "the law misses what was measured"
    two = learned(tmp_path / "two", (800, 400))
    assert (two.exponent, two.fitted) == (None, [])


def test_another_test_set_is_refused(tmp_path: Path) -> None:
    folders = [answered(tmp_path / str(n), 5, 20, first_id=n) for n in range(2)]
    with pytest.raises(RecipeError, match="same test items"):
        measure_learning(folders, (10, 20), "x.test", Resampling(resamples=100))
