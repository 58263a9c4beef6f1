"""Several seeds as one: the interval covers seeds and items, and widens as theory says it must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from lmpipe.base.errors import RecipeError
from lmpipe.base.measures import Metric
from lmpipe.evaluation.bootstrap import Resampling
from lmpipe.evaluation.classification import classified
from lmpipe.evaluation.examples import ExampleLayout, ExampleWriter
from lmpipe.evaluation.intervals import student_quantile
from lmpipe.evaluation.measuring import evaluate_examples
from lmpipe.evaluation.repeats import Items, compare_seeds, measure_seeds, spreads_of
from lmpipe.evaluation.weighting import weighted_mean

FEW = Resampling(resamples=400, seed=3)


def answered(folder: Path, right: np.ndarray, first_id: int = 0) -> Path:
    """An evaluation of two classes, right where it is said."""
    folder.mkdir(parents=True)
    labels = ["no", "yes"]
    truth = [labels[n % 2] for n in range(len(right))]
    given = [labels[(n % 2) if good else 1 - n % 2] for n, good in enumerate(right)]
    with ExampleWriter(folder, ExampleLayout(kind="classification", subject="x.test", classes=tuple(labels))) as writer:
        writer.add([f"{first_id + n:05d}" for n in range(len(right))], classified(labels, truth, predictions=given))
    evaluate_examples(folder)
    return folder


def mean_of(values: np.ndarray) -> Items:
    """An evaluation that is nothing but a mean."""
    metric = Metric(
        name="x.test.mean", value=float(values.mean()), unit="", direction="none", count=len(values), count_unit="examples"
    )
    return Items(len(values), "examples", "", lambda w_RN: {"mean": weighted_mean(w_RN, values)}, {}, {"mean": metric})


def test_quantiles_are_those_of_scipy() -> None:
    for probability in (0.9, 0.975, 0.995):
        ours = [student_quantile(probability, freedom) for freedom in range(1, 41)]
        assert ours == pytest.approx(student.ppf(probability, np.arange(1, 41)), rel=1e-9)


def test_mean_and_spread(tmp_path: Path) -> None:
    rights = [np.arange(100) < n for n in (80, 84, 88)]
    folders = {seed: answered(tmp_path / str(seed), right) for seed, right in enumerate(rights)}
    spread = next(one for one in measure_seeds(folders, "x.test", FEW) if one.statistic == "accuracy")
    assert spread.values == [0.8, 0.84, 0.88]
    assert (spread.mean, spread.standard_deviation) == (pytest.approx(0.84), pytest.approx(0.04))
    assert (spread.lowest, spread.highest) == (0.8, 0.88)
    assert spread.metric("x.test.seeds").name == "x.test.seeds.accuracy"
    assert all(words in spread.interval.method for words in ("3 seeds", "100 examples", "seed 3"))


def test_equal_seeds_leave_the_interval_of_the_items(tmp_path: Path) -> None:
    right = np.random.default_rng(0).random(300) < 0.7
    folders = {seed: answered(tmp_path / str(seed), right) for seed in range(3)}
    interval = next(one for one in measure_seeds(folders, "x.test", FEW) if one.statistic == "accuracy").interval
    half = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 300)
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.15), "three copies of one model are no more data"


def test_all_right_is_not_certain(tmp_path: Path) -> None:
    folders = {seed: answered(tmp_path / str(seed), np.ones(30, bool)) for seed in range(2)}
    interval = next(one for one in measure_seeds(folders, "x.test", FEW) if one.statistic == "accuracy").interval
    assert 0.8 < interval.low < 0.95, "Wilson's of 30 right of 30"
    assert interval.high == 1.0


@pytest.mark.parametrize(("between", "within"), [(1.0, 0.2), (0.3, 1.0)])
def test_the_interval_covers_what_other_seeds_and_items_would_give(between: float, within: float) -> None:
    """Against the truth of a simulation in which both matter, with three seeds."""
    generator = np.random.default_rng(5)
    covered, trials = 0, 200
    for _ in range(trials):
        items = generator.normal(0, within, 40)
        seeds = [mean_of(10 + generator.normal(0, between) + items + generator.normal(0, within, 40)) for _ in range(3)]
        interval = spreads_of(seeds, FEW)[0].interval
        covered += interval.low <= 10 <= interval.high
    assert covered / trials >= 0.92, "95% of an infinite number of trials"


def test_another_test_set_is_refused(tmp_path: Path) -> None:
    folders = {0: answered(tmp_path / "a", np.ones(30, bool)), 1: answered(tmp_path / "b", np.ones(30, bool), first_id=5)}
    with pytest.raises(RecipeError, match="same test items"):
        measure_seeds(folders, "x.test", FEW)


def test_two_recipes_are_compared_over_their_seeds(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    hard = generator.random(200)
    worse = {s: answered(tmp_path / f"w{s}", hard < 0.70 + 0.01 * s) for s in range(3)}
    better = {s: answered(tmp_path / f"b{s}", hard < 0.80 + 0.01 * s) for s in range(3)}
    row = next(one for one in compare_seeds(worse, better, "x.test") if one.name == "x.test.seeds.accuracy")
    assert row.verdict == "better"
    assert row.difference == pytest.approx(0.1, abs=0.03)
    assert row.interval is not None
    assert "paired by seed" in row.interval.method
    others = {s + 7: folder for s, folder in better.items()}
    unpaired = next(one for one in compare_seeds(worse, others, "x.test") if one.name == "x.test.seeds.accuracy")
    assert unpaired.interval is not None
    assert "3 and 3 seeds" in unpaired.interval.method
    assert unpaired.interval.high - unpaired.interval.low > row.interval.high - row.interval.low
    same = [one.verdict for one in compare_seeds(worse, worse, "x.test")]
    assert set(same) == {"no difference"}
