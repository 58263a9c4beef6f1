"""Numbers as people read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.measures import Interval
from lmpipe.report import numbers


def plain(text: str) -> str:
    return text.replace(numbers.NARROW, " ")


def interval(low: float, high: float) -> Interval:
    return Interval(low=low, high=high, method="bootstrap")


@pytest.mark.parametrize(
    ("value", "unit", "around", "shown"),
    [
        (1.65123, "bits/byte", interval(1.60, 1.70), "1.651 bits per byte"),
        (1.65123, "bits/byte", interval(1.2, 2.1), "1.65 bits per byte"),
        (46.81, "per token", interval(42.1, 52.3), "46.8 per token"),
        (0.4174, "fraction", interval(0.4069, 0.4281), "41.7%"),
        (0.004, "fraction of passages", interval(0.0011, 0.0087), "0.40% of passages"),
        (0.0, "fraction of passages", None, "0% of passages"),
        (5_245_184, "count", None, "5,245,184"),
        (1_288 * 2**20, "bytes", None, "1.26 GiB"),
        (281.0, "seconds", None, "4 min 41 s"),
        (1.42, "Wh", None, "1.42 Wh"),
        (-0.0123, "nats", None, "−0.0123 nats"),
    ],
)
def test_a_number_shows_the_digits_that_its_interval_supports(
    value: float, unit: str, around: Interval | None, shown: str
) -> None:
    assert plain(numbers.with_unit(value, unit, around)) == shown


def test_a_written_threshold_is_shown_as_it_was_written() -> None:
    assert [
        plain(numbers.bound(v, u)) for v, u in ((0.01, "fraction"), (2.0, "bits/byte"), (0.1, "bits"), (0.07, "fraction of x"))
    ] == [
        "1%",
        "2 bits per byte",
        "0.1 bits",
        "7%",
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 s"),
        (0.041, "0.041 s"),
        (0.996, "1.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (372.0, "6 min 12 s"),
        (3599.6, "1 h 00 min"),
        (3 * 3600 + 299, "3 h 05 min"),
    ],
)
def test_durations_never_show_sixty_of_anything(seconds: float, shown: str) -> None:
    assert plain(numbers.duration(seconds)) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (812, "812"), (999_600, "1 M"), (5_245_184, "5.25 M"), (1.2e12, "1.2 T"), (-2500, "−2.5 k"), (0.0005, "0.0005")],
)
def test_compact_numbers(value: float, shown: str) -> None:
    assert plain(numbers.compact(value)) == shown


def test_shares_changes_ratios_and_energy_in_words() -> None:
    assert plain(numbers.share(1, 10_000)) == "< 0.1%"
    assert numbers.share(1, 0) == numbers.NOT_RECORDED
    assert numbers.change(1.65, 1.90) == "13% below"
    assert numbers.change(2.0, 2.0) == "equal"
    assert numbers.change(2.0, 0.0) == "not comparable"
    assert plain(numbers.ratio(281, 259)) == "1.08 ×"
    assert numbers.ratio(1, 0) == numbers.NOT_RECORDED
    assert plain(numbers.watt_hours(3.42, estimated=True)) == "≈ 3.4 Wh"
    assert plain(numbers.watt_hours(3.42, estimated=False)) == "3.4 Wh"
    assert plain(numbers.watt_hours(0.0002, estimated=True)) == "< 0.01 Wh"
    assert plain(numbers.plural(1, "corpus", "corpora")) == "1 corpus"
    assert plain(numbers.plural(2, "corpus", "corpora")) == "2 corpora"


def test_instants_are_shown_in_utc() -> None:
    at = datetime(2026, 7, 31, 1, 5, tzinfo=timezone(timedelta(hours=2)))
    assert numbers.moment(at) == "2026-07-30 23:05 UTC"
    assert numbers.iso(at) == "2026-07-30T23:05:00Z"
    assert numbers.moment(at.replace(tzinfo=None)) == numbers.moment(at.replace(tzinfo=UTC))


@settings(deadline=None, max_examples=200)
@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_a_shown_number_is_near_the_number(value: float) -> None:
    read = float(numbers.fixed(value).replace(",", "").replace(numbers.MINUS, "-"))
    assert math.isclose(read, value, rel_tol=6e-3, abs_tol=1e-300)
