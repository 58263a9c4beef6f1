"""What the audits found. Each number stands beside its threshold and beside what it does not show."""

from __future__ import annotations

import json
from typing import Any

from lmpipe.base.measures import Finding
from lmpipe.report.axes import axis
from lmpipe.report.charts import Dot, dot_and_whisker, plain_ticks
from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.model import Report
from lmpipe.report.numbers import bound, bounds, measured, plural, unit_name
from lmpipe.report.parts import Section, Tone, cut, label, sign

MAX_SAMPLES = 10
MAX_FINDINGS = 100


def section(report: Report) -> Section:
    """Every finding as an article."""
    shown = report.findings[:MAX_FINDINGS]
    body = [finding(one, number) for number, one in enumerate(shown, 1)]
    if len(report.findings) > len(shown):
        body.append(
            element("p", f"{len(report.findings) - len(shown)} more findings are in the bundle's findings.json.", class_="note")
        )
    fact = plural(len(report.findings), "finding") if shown else ""
    return Section(
        "audits", "Audits", fact, body or None, "No audit was made in this run, so nothing is known about its risks."
    )


def finding(given: Finding, number: int) -> Markup:
    """Value, interval and threshold on an axis; method; limits; samples on demand."""
    title = f"finding-{number}"
    tone, standing = against_threshold(given)
    value = element(
        "p",
        element("b", measured(given.value, given.unit, given.interval), class_="big"),
        " ",
        element("span", "" if given.unit == "fraction" else unit_name(given.unit), class_="unit"),
        class_="finding-value",
    )
    details = (
        element("p", f"{given.interval.level:.0%} interval {bounds(given.interval, given.unit)}") if given.interval else None
    )
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
        "div", graphic, plain_ticks(on, percent=given.unit == "fraction"), class_="finding-graphic", aria_hidden="true"
    )


def _samples(given: Finding) -> Markup | None:
    if not given.samples:
        return None
    shown = given.samples[:MAX_SAMPLES]
    items = [element("li", element("dl", [_pair(key, value) for key, value in one.items()])) for one in shown]
    more = f", the first {len(shown)}" if len(given.samples) > len(shown) else ""
    summary = element("summary", f"{plural(len(given.samples), 'example')} behind the number{more}")
    return element("details", summary, element("ol", items, class_="examples"))


def _pair(key: str, value: Any) -> Markup:
    text: Content = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return join([element("dt", key.replace("_", " ")), element("dd", element("pre", cut(str(text), 600)))])
