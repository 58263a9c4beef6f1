"""The verdict on a curve and what stands around it."""

from __future__ import annotations

import pytest

from lmpipe.evaluation.generalization import CurvePoint, judge_fit
from lmpipe.evaluation.intervals import wilson


def curve(*losses):
    return [CurvePoint(step=100 * i, validation=v, train=t) for i, (v, t) in enumerate(losses, 1)]


TURNING = curve((4.0, 4.0), (3.0, 2.8), (3.2, 2.0), (3.6, 1.2))
FLAT = curve((4.0, 4.0), (3.0, 2.9), (2.95, 2.85), (2.93, 2.82), (2.92, 2.81))
FALLING = curve((6.0, 6.0), (5.0, 5.0), (4.2, 4.2), (3.5, 3.5))


def test_validation_that_turns_up_is_overfitting():
    found = judge_fit(TURNING)
    assert (found.verdict, found.best_step, found.last_step) == ("overfitted", 200, 400)
    assert found.gap == pytest.approx(2.0)
    assert any("rose by 20.0% after step 200" in line for line in found.evidence)


def test_a_curve_that_came_to_rest_is_fine():
    found = judge_fit(FLAT, baseline=3.5, duplicates=0.0, memorised=wilson(0, 400))
    assert found.verdict == "fine"
    assert found.evidence


def test_a_curve_still_falling_is_underfitting():
    assert judge_fit(FALLING).verdict == "underfitted"


def test_a_model_no_better_than_a_simple_one_has_not_learned():
    found = judge_fit(FLAT, baseline=2.5)
    assert found.verdict == "underfitted"
    assert any("does not beat" in line for line in found.evidence)


def test_a_gap_with_memorised_text_is_overfitting_and_neither_alone_is():
    gapped = curve((4.0, 3.9), (3.0, 2.7), (2.98, 2.6), (2.97, 2.55))
    memorised = wilson(40, 400)
    assert judge_fit(gapped).verdict == "fine"
    assert judge_fit(FLAT, memorised=memorised).verdict == "fine"
    assert judge_fit(gapped, memorised=memorised).verdict == "overfitted"
    assert judge_fit(gapped, memorised=wilson(2, 400)).verdict == "fine"  # 0.5%, and the interval holds less than 1%


def test_a_wide_gap_speaks_for_itself():
    assert judge_fit(curve((4.0, 3.9), (3.0, 2.0), (2.99, 1.6), (2.98, 1.5))).verdict == "overfitted"


def test_overlap_makes_the_held_out_side_no_witness():
    assert judge_fit(FLAT, duplicates=0.2).verdict == "unclear"
    assert judge_fit(FALLING, duplicates=0.2).verdict == "unclear"
    assert judge_fit(TURNING, duplicates=0.2).verdict == "overfitted"


def test_too_little_to_judge_by():
    assert judge_fit(FLAT[:2]).verdict == "unclear"
    without_training = [point.model_copy(update={"train": None}) for point in FLAT]
    assert judge_fit(without_training).verdict == "unclear"
    assert judge_fit([point.model_copy(update={"train": None}) for point in TURNING]).verdict == "overfitted"
