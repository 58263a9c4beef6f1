"""Numbers as people read them: no more digits than the doubt allows, a unit everywhere, one spelling for each kind.

Does not know: where a number comes from. Minus signs are U+2212, and the space before a unit does not break.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from lmpipe.base.measures import Interval

NARROW = "\u00a0"
MINUS = "\u2212"
NOT_RECORDED = "\u2013"

UNIT_NAMES = {"bits_per_byte": "bits per byte", "bits/byte": "bits per byte", "nats/token": "nats per token", "wh": "Wh"}
"""Spellings of a unit that read better written out."""

READABLE_UNITS = frozenset({"bytes", "seconds", "s"})
"""Units that `measured` turns into the nearest larger one and writes out."""

UNITLESS = frozenset({"", "1", "none", "perplexity", "count", "ratio"})
"""Units that say nothing which the name of the number does not say."""


def is_fraction(unit: str) -> bool:
    """Whether a number of this unit reads as percent: `fraction`, or `fraction of` something."""
    return unit == "fraction" or unit.startswith("fraction of ")


def unit_name(unit: str) -> str:
    """The unit as it stands after a number; empty for one that adds nothing or that the number shows (percent, bytes, time).

    >>> unit_name("bits/byte"), unit_name("fraction of passages"), unit_name("seconds")
    ('bits per byte', 'of passages', '')
    """
    if is_fraction(unit):
        return unit.removeprefix("fraction").strip()
    return "" if unit in UNITLESS or unit in READABLE_UNITS else UNIT_NAMES.get(unit, unit.replace("_", " "))


def measured(value: float, unit: str, interval: Interval | None = None) -> str:
    """A number alone, with the digits that its interval supports; fractions as percent, bytes and seconds in readable units.

    >>> measured(1.65123, "bits/byte", Interval(low=1.60, high=1.70, method="bootstrap"))
    '1.651'
    >>> measured(0.03125, "fraction")
    '3.12%'
    """
    spread = abs(interval.high - interval.low) / 2 if interval else None
    if is_fraction(unit):
        return f"{fixed(100 * value, None if spread is None else 100 * spread)}%"
    if unit == "bytes":
        return size(value)
    if unit in ("seconds", "s"):
        return duration(value)
    return fixed(value, spread)


def with_unit(value: float, unit: str, interval: Interval | None = None) -> str:
    """`measured` followed by its unit."""
    number = measured(value, unit, interval)
    name = unit_name(unit)
    return f"{number}{NARROW}{name}" if name else number


def bounds(interval: Interval | None, unit: str) -> str:
    """An interval as `[1.601, 1.703]`; empty when there is none."""
    if interval is None:
        return ""
    low, high = measured(interval.low, unit, interval), measured(interval.high, unit, interval)
    return f"[{low}, {high}]"


def fixed(value: float, spread: float | None = None) -> str:
    """A number with the decimals that let `spread` keep two digits; without a spread, at most four digits in all."""
    if not spread:
        return _four_digits(value)
    decimals = min(9, max(0, 1 - math.floor(math.log10(spread))))
    return _signed(f"{value:,.{decimals}f}")


def _four_digits(value: float) -> str:
    """Trailing zeros go: without an interval they would claim a precision that nobody measured."""
    if value == 0:
        return "0"
    if abs(value) < 1e-4:
        return _signed(f"{value:.3g}")
    decimals = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return _signed(text.rstrip("0").rstrip(".") if "." in text else text)


def exact(value: float) -> str:
    """A number that someone wrote, such as a threshold, as short as it was written: `0.01`, `2`, `1e-05`."""
    return count(int(value)) if value == int(value) and abs(value) < 1e15 else _signed(repr(float(value)))


def bound(value: float, unit: str) -> str:
    """A threshold with its unit: `1%`, `5 bits`. Percents keep what floating point left of the number that was written."""
    if is_fraction(unit):
        return f"{exact(round(100 * value, 9))}%"
    if unit in READABLE_UNITS:
        return with_unit(value, unit)
    name = unit_name(unit)
    return f"{exact(value)}{NARROW}{name}" if name else exact(value)


def count(value: int) -> str:
    """A whole number with thousands separated: `5,242,880`."""
    return _signed(f"{value:,}")


def compact(value: float) -> str:
    """A number in at most four characters and a letter: `5.24 M`, `812`, `0.002`."""
    for threshold, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= threshold * 0.9995:
            return _signed(f"{value / threshold:.3g}{NARROW}{letter}")
    return _signed(f"{value:.4g}")


def size(value: float) -> str:
    """Bytes in binary units: `1.9 GiB`."""
    for threshold, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(value) >= threshold:
            scaled = value / threshold
            return _signed(f"{scaled:.0f}{NARROW}{unit}" if scaled >= 100 else f"{scaled:.3g}{NARROW}{unit}")
    return _signed(f"{value:.0f}{NARROW}B")


def duration(seconds: float) -> str:
    """A span of time: `0.04 s`, `38 s`, `6 min 12 s`, `3 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.2g}{NARROW}s" if seconds < 0.995 else f"{seconds:.1f}{NARROW}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{NARROW}s"
    if whole < 3600:
        return f"{whole // 60}{NARROW}min {whole % 60:02d}{NARROW}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,}{NARROW}h {minutes % 60:02d}{NARROW}min"


def share(part: float, whole: float) -> str:
    """`part` of `whole` as percent; a dash when there is no whole."""
    if not whole:
        return NOT_RECORDED
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return f"<{NARROW}0.1%"
    return f"{percent:.1f}%"


def watt_hours(value: float, *, estimated: bool) -> str:
    """Energy, marked where it is an estimate: `≈ 3.4 Wh`. Two digits are more than any estimate of it supports."""
    if value < 0.01:
        return f"<{NARROW}0.01{NARROW}Wh" if value else f"0{NARROW}Wh"
    number = f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"
    return f"{'≈' + NARROW if estimated else ''}{number}{NARROW}Wh"


def ratio(actual: float, predicted: float) -> str:
    """How many times the prediction the fact was: `1.08 ×`."""
    return f"{actual / predicted:.2f}{NARROW}×" if predicted else NOT_RECORDED


def change(value: float, reference: float) -> str:
    """How far `value` lies from `reference`, in words: `13% below`."""
    if not reference:
        return "not comparable"
    percent = 100 * (value - reference) / abs(reference)
    if round(abs(percent), 1) == 0:
        return "equal"
    text = f"{abs(percent):.0f}%" if abs(percent) >= 9.5 else f"{abs(percent):.1f}%"
    return f"{text} {'below' if percent < 0 else 'above'}"


def moment(at: datetime) -> str:
    """An instant in UTC, to the minute: `2026-07-31 14:05 UTC`. One without a zone is taken for UTC."""
    return _utc(at).strftime("%Y-%m-%d %H:%M UTC")


def iso(at: datetime) -> str:
    """The same instant for machines (the `datetime` attribute of a `<time>`)."""
    return _utc(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def plural(number: int, noun: str, several: str = "") -> str:
    """`1 document`, `1,912 documents`; `several` is the plural that does not end in s."""
    return f"{count(number)}{NARROW}{noun if number == 1 else several or noun + 's'}"


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _signed(text: str) -> str:
    return text.replace("-", MINUS, 1) if text.startswith("-") else text
