"""What the audits found. Each number stands beside its threshold and beside what it does not show."""

from __future__ import annotations

import json
from typing import Any

from lmpipe.base.measures import Finding, Interval
from lmpipe.report.axes import axis
from lmpipe.report.charts import Dot, dot_and_whisker, plain_ticks
from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.model import Report
from lmpipe.report.numbers import NOT_RECORDED, bound, bounds, duration, fixed, is_fraction, measured, plural, size, unit_name
from lmpipe.report.parts import Section, Tone, cut, label, sign
from lmpipe.report.sections.cost import spent
from lmpipe.report.tables import Column, table

MAX_SAMPLES = 10
MAX_FINDINGS = 100
MAX_CELL = 60
MAX_COLUMNS = 7


def section(report: Report) -> Section:
    """Every finding as an article."""
    shown = report.findings[:MAX_FINDINGS]
    estimated = spent(report.stages).energy_estimated
    body = [finding(one, number, estimated=estimated and one.unit == "Wh") for number, one in enumerate(shown, 1)]
    if len(report.findings) > len(shown):
        body.append(
            element("p", f"{len(report.findings) - len(shown)} more findings are in the bundle's findings.json.", class_="note")
        )
    fact = plural(len(report.findings), "finding") if shown else ""
    return Section(
        "audits", "Audits", fact, body or None, "No audit was made in this run, so nothing is known about its risks."
    )


def finding(given: Finding, number: int, *, estimated: bool) -> Markup:
    """Value, interval and threshold on an axis; method; limits; samples on demand."""
    title = f"finding-{number}"
    tone, standing = against_threshold(given)
    value = element(
        "p",
        element("b", measured(given.value, given.unit, given.interval), class_="big"),
        " ",
        element("span", unit_name(given.unit), " (estimate)" if estimated else None, class_="unit"),
        class_="finding-value",
    )
    details = _interval(given.interval, given.unit) if given.interval else None
    verdict = element("p", sign(tone), " ", standing, class_="standing") if standing else None
    head = element("h3", label(given), " ", element("code", given.name), id=title)
    left = element("div", value, details, verdict, _graphic(given), class_="finding-number")
    right = element(
        "div",
        element("p", element("b", "How. "), given.method),
        element("p", element("b", "What this does not show. "), given.limits, class_="limits"),
        _samples(given),
        class_="finding-text",
    )
    return element("article", head, left, right, class_="finding", aria_labelledby=title)


def _interval(given: Interval, unit: str) -> Markup:
    return element("p", f"{given.level:.0%} interval {bounds(given, unit)} ", element("small", given.method))


def against_threshold(given: Finding) -> tuple[Tone, str]:
    """Where the value, with its interval, stands to the threshold: in the clear, beyond it, or not decided."""
    if given.threshold is None or given.direction == "none":
        return "plain", ""
    low, high = (given.interval.low, given.interval.high) if given.interval else (given.value, given.value)
    limit = given.threshold
    clear, beyond = (high <= limit, low > limit) if given.direction == "lower" else (low >= limit, high < limit)
    asked = f"{'at most' if given.direction == 'lower' else 'at least'} {bound(limit, given.unit)}"
    if clear:
        return "good", f"within the threshold, {asked}"
    return ("bad", f"beyond the threshold, {asked}") if beyond else ("unsure", f"the interval crosses the threshold, {asked}")


def _graphic(given: Finding) -> Markup | None:
    if given.interval is None and given.threshold is None:
        return None
    ends = [given.value, *([given.interval.low, given.interval.high] if given.interval else [])]
    on = axis([*ends, *([] if given.threshold is None else [given.threshold])], from_zero=True, ticks=4)
    low, high = (given.interval.low, given.interval.high) if given.interval else (None, None)
    dot = Dot(given.value, low, high)
    graphic = element("div", dot_and_whisker(dot, on, threshold=given.threshold), class_="strip")
    return element(
        "div", graphic, plain_ticks(on, percent=is_fraction(given.unit)), class_="finding-graphic", aria_hidden="true"
    )


def _samples(given: Finding) -> Markup | None:
    if not given.samples:
        return None
    if _are_rows(given.samples):
        return element("details", element("summary", "The rows behind the number"), _rows(given.samples))
    shown = given.samples[:MAX_SAMPLES]
    items = [element("li", element("dl", [_pair(key, value) for key, value in one.items()])) for one in shown]
    more = f", the first {len(shown)}" if len(given.samples) > len(shown) else ""
    summary = element("summary", f"{plural(len(given.samples), 'example')} behind the number{more}")
    return element("details", summary, element("ol", items, class_="examples"))


def _are_rows(samples: list[dict[str, Any]]) -> bool:
    """Whether the samples are rows of one table: the same keys, and values short enough for a cell."""
    keys = list(samples[0])
    short = all(
        not isinstance(value, (dict, list)) and len(str(value)) <= MAX_CELL for one in samples for value in one.values()
    )
    return 2 <= len(keys) <= MAX_COLUMNS and short and all(list(one) == keys for one in samples)


def _rows(samples: list[dict[str, Any]]) -> Markup:
    numeric = {key: any(isinstance(one[key], (int, float)) for one in samples) for key in samples[0]}
    columns = [Column(key.replace("_", " "), "number" if numeric[key] else "text") for key in samples[0]]
    return table("", columns, [[_value(key, value) for key, value in one.items()] for one in samples], class_="rows")


def _value(key: str, value: Any) -> str:
    """A value in the unit that its name carries (`peak_memory_bytes`, `seconds`)."""
    if value is None:
        return NOT_RECORDED
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    unit = key.rsplit("_", 1)[-1]
    return duration(value) if unit == "seconds" else size(value) if unit == "bytes" else fixed(float(value))


def _pair(key: str, value: Any) -> Markup:
    text: Content = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return join([element("dt", key.replace("_", " ")), element("dd", element("pre", cut(str(text), 600)))])
