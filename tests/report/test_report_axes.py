"""Axes, ticks and thinning."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.report.axes import axis, decimate, tick_decimals, tight_axis, time_axis

VALUES = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False).map(lambda v: round(v, 6))
POSITIVE = st.floats(min_value=1e-6, max_value=1e9)


@settings(deadline=None, max_examples=200)
@given(st.lists(VALUES, min_size=1, max_size=20))
def test_a_linear_axis_holds_every_value_between_its_outer_ticks(values: list[float]) -> None:
    on = axis(values)
    slack = 1e-6 * (on.high - on.low)
    assert on.low - slack <= min(values)
    assert max(values) <= on.high + slack
    assert on.ticks[0] == on.low
    assert on.ticks[-1] == on.high
    assert 2 <= len(on.ticks) <= 12
    assert all(0 <= on.position(value) <= 1 for value in values)


@settings(deadline=None, max_examples=200)
@given(st.lists(POSITIVE, min_size=1, max_size=20))
def test_a_log_axis_holds_every_value_and_keeps_the_order(values: list[float]) -> None:
    on = axis(values, scale="log")
    assert on.scale == "log"
    assert on.low <= min(values) * 1.002
    assert max(values) <= on.high * 1.002
    assert len(on.ticks) >= 2
    places = [on.position(value) for value in sorted(values)]
    assert places == sorted(places)


def test_a_log_axis_for_values_that_are_not_positive_is_linear() -> None:
    assert axis([0.0, 10.0], scale="log").scale == "linear"


def test_axes_of_nothing_and_of_equal_values_have_a_width() -> None:
    for values in ([], [0.0], [3.0, 3.0], [-2.0]):
        for from_zero in (False, True):
            on = axis(values, from_zero=from_zero)
            assert on.high > on.low
    assert tight_axis([]).high > 0
    assert time_axis([0.0]).high > 0


def test_ticks_of_time_are_round_on_a_clock() -> None:
    assert time_axis([344.0]).ticks == (0, 120, 240)
    assert time_axis([3.2]).ticks == (0, 1, 2, 3)
    assert time_axis([40 * 86_400.0]).ticks[1] == 8 * 86_400


def test_ticks_share_their_decimals() -> None:
    assert tick_decimals(axis([1.6, 2.1])) == 1
    assert tick_decimals(axis([0.0, 0.01], ticks=4)) == 4
    assert tick_decimals(axis([0.0, 100.0])) == 0


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(st.none(), VALUES), min_size=1, max_size=400), st.integers(4, 60))
def test_thinning_keeps_ends_extremes_order_and_gaps(values: list[float | None], limit: int) -> None:
    kept = decimate(values, limit)
    assert kept == sorted(set(kept))
    assert {0, len(values) - 1} <= set(kept)
    assert len(kept) <= max(limit, len(kept) if len(values) <= limit else 3 * limit // 2 + 2)
    known = [value for value in values if value is not None]
    shown = [values[i] for i in kept if values[i] is not None]
    if known:
        assert min(shown) == min(known)  # type: ignore[type-var]
        assert max(shown) == max(known)  # type: ignore[type-var]
    assert any(values[i] is None for i in kept) == (None in values)


def test_thinning_keeps_one_spike_among_thousands() -> None:
    values: list[float | None] = [1.0] * 50_000
    values[31_007] = 9.0
    kept = decimate(values)
    assert 31_007 in kept
    assert len(kept) <= 602
