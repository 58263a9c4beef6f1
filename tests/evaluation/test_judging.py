"""Verdicts and what is made of them, against scikit-learn and against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from lmpipe.evaluation.bootstrap import Resampling
from lmpipe.evaluation.judging import OUTCOMES, Outcome, human_metrics, judged_metrics, outcome_of, settled

RESAMPLING = Resampling(200, 0.95, 3, "pairs")


@pytest.mark.parametrize("text", ["A", " A\n", "[[A]]", "(A).", "**A**", '"A"'])
def test_one_word_is_a_verdict(text: str) -> None:
    assert outcome_of(text, ours="A") == "win"
    assert outcome_of(text, ours="B") == "loss"


@pytest.mark.parametrize("text", ["", "a", "Answer A", "A, because it is longer", "A B", "C", "tied", "neither"])
def test_anything_else_is_none(text: str) -> None:
    assert outcome_of(text, ours="A") is None


def test_orders_that_differ_are_a_tie_and_the_other_side_sees_the_mirror() -> None:
    mirror: dict[Outcome, Outcome] = {"win": "loss", "loss": "win", "tie": "tie"}
    for first in OUTCOMES:
        for second in OUTCOMES:
            found = settled(first, second)
            assert found == (first if first == second else "tie")
            assert settled(mirror[first], mirror[second]) == mirror[found]


def test_counts_by_hand() -> None:
    orders: list[tuple[Outcome | None, Outcome | None]] = [
        ("win", "win"),
        ("win", "loss"),
        ("loss", "loss"),
        ("tie", "win"),
        ("win", "win"),
        ("win", None),
    ]
    found = {metric.name: metric for metric in judged_metrics(orders, subject="judged.x", resampling=RESAMPLING)}
    assert {name: metric.value for name, metric in found.items()} == pytest.approx(
        {
            "judged.x.win_rate": (1 + 0.5 + 0 + 0.5 + 1) / 5,
            "judged.x.self_agreement": 3 / 5,
            "judged.x.position_bias": 1 / 5,
            "judged.x.unparsable": 1 / 12,
        }
    )
    for metric in found.values():
        assert metric.interval is not None
        assert metric.interval.low <= metric.value <= metric.interval.high


def test_kappa_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(5)
    human = [OUTCOMES[i] for i in generator.integers(0, 3, size=60)]
    judge = [one if generator.random() < 0.6 else OUTCOMES[generator.integers(0, 3)] for one in human]
    agreement, kappa = human_metrics(judge, human, subject="judged.x", resampling=RESAMPLING)
    assert agreement.value == pytest.approx(np.mean([one == other for one, other in zip(judge, human, strict=True)]))
    assert kappa.value == pytest.approx(cohen_kappa_score(judge, human), abs=1e-12)
    drawn = np.random.default_rng(3).integers(0, 60, size=(200, 60))
    resampled = [cohen_kappa_score([judge[i] for i in row], [human[i] for i in row]) for row in drawn]
    assert kappa.interval is not None
    assert (kappa.interval.low, kappa.interval.high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])), abs=1e-12)


def test_kappa_of_one_verdict_alone_is_no_number() -> None:
    found = human_metrics(["tie", None, "tie"], ["tie", "win", "tie"], subject="judged.x", resampling=RESAMPLING)
    assert [(metric.name, metric.value, metric.count) for metric in found] == [("judged.x.human_agreement", 1.0, 2)]
    assert human_metrics([None], ["win"], subject="judged.x", resampling=RESAMPLING) == []
