"""A judge's verdicts on two models' answers, pair by pair: against an exact permutation test, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from lmpipe.base.errors import RecipeError, SourceError
from lmpipe.base.measures import write_metrics
from lmpipe.evaluation.bootstrap import Resampling
from lmpipe.evaluation.comparison import Difference, compare
from lmpipe.evaluation.judged_items import paired_test, read_scores
from lmpipe.evaluation.judging import OUTCOMES, SCORES, judged_metrics, settled

VERDICTS_OF_BOTH = st.lists(st.tuples(*[st.sampled_from(OUTCOMES)] * 2), min_size=4, max_size=7)


def written(folder: Path, verdicts: list[str | None], asked: str = "prompt") -> Path:
    """What a judged evaluation leaves, the judge having said the same in both orders."""
    folder.mkdir(exist_ok=True)
    rows = [{"item_sha256": f"{asked} {i}", "of": "model", "verdict": one} for i, one in enumerate(verdicts)]
    rows.append({"item_sha256": "other", "of": "other", "verdict": "win"})  # the file's own other answer, which no model gave
    pq.write_table(pa.Table.from_pylist(rows), folder / "verdicts.parquet")
    orders = [(one, one) for one in verdicts]
    assert all(settled(*order) == one for order, one in zip(orders, verdicts, strict=True))
    write_metrics(folder, judged_metrics(orders, subject="judged.talk", resampling=Resampling(100)))
    return folder


def compared(first: Path, second: Path) -> dict[str, Difference]:
    return {row.name.removeprefix("judged.talk."): row for row in compare(first, second, resampling=Resampling(500))}


def test_the_model_that_wins_more_often_is_better_from_either_side(tmp_path: Path) -> None:
    weak = written(tmp_path / "weak", ["win", "loss", "loss", "tie"] * 15)
    strong = written(tmp_path / "strong", ["win", "win", "tie", "tie"] * 15)
    there, back = compared(weak, strong), compared(strong, weak)
    assert (there["win_rate"].verdict, back["win_rate"].verdict) == ("better", "worse")
    assert there["win_rate"].difference == pytest.approx(0.75 - 0.375)
    assert there["win_rate"].interval.low <= there["win_rate"].difference <= there["win_rate"].interval.high
    assert there["win_rate"].test.adjusted_p <= 0.05
    assert "60 pairs of answers to one prompt" in there["win_rate"].interval.method
    for name in ("self_agreement", "position_bias", "unparsable"):
        assert (there[name].verdict, there[name].test) == ("no difference", None)
        assert "of the judge" in there[name].note


def test_the_same_answers_show_no_difference(tmp_path: Path) -> None:
    same = written(tmp_path / "same", ["win", "loss", None, "tie"] * 5)
    row = compared(same, same)["win_rate"]
    assert (row.difference, row.test.p, row.verdict) == (0.0, 1.0, "no difference")
    assert (row.interval.low, row.interval.high) == (0.0, 0.0)


@settings(max_examples=15, deadline=None)
@given(VERDICTS_OF_BOTH)
def test_the_p_value_is_that_of_an_exact_permutation(tmp_path_factory: pytest.TempPathFactory, pairs: list) -> None:
    folder = tmp_path_factory.mktemp("verdicts")
    sides = [list(side) for side in zip(*pairs, strict=True)]
    scores = [read_scores(written(folder / f"{n}", side)) for n, side in enumerate(sides)]
    values = [np.array([SCORES[one] for one in side]) for side in sides]
    exact = permutation_test(values, lambda a, b: np.mean(b - a), permutation_type="samples", n_resamples=np.inf).pvalue
    assert paired_test(scores[0], scores[1], Resampling(4000, seed=1)) == pytest.approx(exact, abs=0.04)


def test_other_prompts_or_another_judge_are_refused(tmp_path: Path) -> None:
    first = written(tmp_path / "first", ["win", "loss"])
    with pytest.raises(RecipeError, match="the same prompts and references"):
        compare(first, written(tmp_path / "other", ["win", "loss"], asked="another"))
    with pytest.raises(RecipeError, match="same judge"):
        compare(first, written(tmp_path / "more", ["win", "loss", "tie"]))
    (tmp_path / "numbers").mkdir()
    write_metrics(tmp_path / "numbers", [])
    with pytest.raises(SourceError, match="of one kind"):
        compare(first, tmp_path / "numbers")
