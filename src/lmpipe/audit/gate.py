"""The gate: what the recipe requires of the measured numbers, answered GO, NO-GO or INCONCLUSIVE.

                  allowed            |  not allowed           (at_most: 2.2)
       GO         [---value---]      |
       INCONCLUSIVE        [---value-|--]
       NO-GO                         |  [---value---]

A number without an interval is taken as exact. A number that is not there is INCONCLUSIVE, not NO-GO: nothing was measured, so
nothing was shown either way; both keep a bundle from being deployed. It knows numbers and names, not how they were measured.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from lmpipe.audit.config import CLOCK_FINDINGS
from lmpipe.base.config import Config
from lmpipe.base.errors import RecipeError
from lmpipe.base.files import write_json
from lmpipe.base.measures import Finding, Interval, Metric, Requirement, Verdict

Answer = Literal["GO", "NO-GO", "INCONCLUSIVE"]
GOAL = "goal"
MEANS = {"seeds": "mean over seeds of ", "folds": "out-of-fold "}
"""Numbers over repeats, in words, by the part of their names that says so."""


class GoalConfig(Config):
    """What would count as success, said before anything is measured."""

    task: Literal["generate", "classify", "score", "tag", "transform", "embed"] = "generate"
    """What the model is for."""
    metric: str = Field(default="bits_per_byte", min_length=1)
    """The number that decides, by the last part of its name: `bits_per_byte`, `accuracy`, `macro_f1`, `rougeL`; with `seeds`
    also their mean (`seeds.accuracy`), with `cross_validation` also that of all folds (`folds.accuracy`)."""
    on: Literal["validation", "test"] = "test"
    """The split on which it is taken."""
    at_most: float | None = None
    """Success is a value no higher than this."""
    at_least: float | None = None
    """Success is a value no lower than this."""

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        _check_bounds(self.at_most, self.at_least)
        return self

    def sentence(self) -> str:
        """The goal in words, for cards and summaries.

        >>> GoalConfig(at_most=2.2).sentence()
        'generate text with bits per byte of at most 2.2 on the test split'
        """
        purposes = {
            "generate": "generate text",
            "classify": "tell classes apart",
            "score": "give scores",
            "tag": "tag words",
            "transform": "turn texts into others",
            "embed": "find what is alike",
        }
        bounds = _bounds_in_words(self.at_most, self.at_least)
        over, _, statistic = self.metric.rpartition(".")
        metric = f"{MEANS.get(over, '')}{statistic.replace('_', ' ')}"
        return f"{purposes[self.task]} with {metric} of {bounds} on the {self.on} split"


class RequirementConfig(Config):
    """One thing that the gate asks: a bound on one metric or on one finding."""

    metric: str | None = None
    """A metric's name, such as `corpus.test.bits_per_byte`, or `goal` for what `goal:` says."""
    finding: str | None = None
    """A finding's name, such as `memorization.extractable`."""
    at_most: float | None = None
    """The highest value that passes."""
    at_least: float | None = None
    """The lowest value that passes."""

    @model_validator(mode="after")
    def _names_one_number(self) -> Self:
        if (self.metric is None) == (self.finding is None):
            raise ValueError("expected either `metric` or `finding`")
        if self.metric != GOAL:
            _check_bounds(self.at_most, self.at_least)
        elif self.at_most is not None or self.at_least is not None:
            raise ValueError("`metric: goal` takes its bound from `goal:`; remove `at_most` and `at_least` here")
        return self


class GateConfig(Config):
    """What must hold for the model to be let out."""

    require: tuple[RequirementConfig, ...] = Field(default=(RequirementConfig(metric=GOAL),), min_length=1)
    """All of these must hold."""


@dataclass(frozen=True)
class Bound:
    """A requirement with the goal resolved: one named number and where it may lie."""

    subject: str
    is_finding: bool
    at_most: float | None
    at_least: float | None


def resolve(gate: GateConfig, goal: GoalConfig | None, corpus: str) -> list[Bound]:
    """The gate's requirements with `metric: goal` replaced by the goal's metric on `corpus`.

    Raises:
        RecipeError: when a requirement speaks of a goal and the recipe has none.
    """
    bounds = []
    for position, item in enumerate(gate.require):
        if item.metric != GOAL:
            subject = item.finding or item.metric or ""
            bounds.append(Bound(subject, item.finding is not None, item.at_most, item.at_least))
        elif goal is None:
            raise RecipeError(
                "the gate requires the goal, and the recipe states none",
                where=f"gate.require.{position}.metric",
                expected="a section such as `goal: {metric: bits_per_byte, on: test, at_most: 2.2}`",
                fix="add `goal:` or name a metric here",
            )
        else:
            bounds.append(Bound(f"{corpus}.{goal.on}.{goal.metric}", False, goal.at_most, goal.at_least))
    return bounds


def check_names(bounds: Sequence[Bound], *, metrics: Iterable[str], findings: Iterable[str]) -> None:
    """Find, before anything runs, a requirement on a number that nothing in the recipe will measure.

    Raises:
        RecipeError: naming the requirement, the nearest known name and all known names.
    """
    known = {False: list(metrics), True: list(findings)}
    for position, bound in enumerate(bounds):
        word = "finding" if bound.is_finding else "metric"
        where = f"gate.require.{position}.{word}"
        if bound.is_finding and bound.subject in CLOCK_FINDINGS:
            raise RecipeError(
                f"the gate cannot require '{bound.subject}': it depends on the machine and the moment",
                where=where,
                expected="a number that is the same when the run is repeated",
                fix="set `max_wh` in the energy audit: the report and the card then show it beside the figure",
            )
        if bound.subject not in known[bound.is_finding]:
            raise RecipeError(
                f"the gate requires the {word} '{bound.subject}', which this recipe does not measure",
                where=where,
                expected=f"one of {', '.join(known[bound.is_finding]) or 'none: the recipe has no such section'}",
                fix=_suggestion(bound.subject, known[bound.is_finding], "audit" if bound.is_finding else "evaluate"),
            )


def decide(bounds: Sequence[Bound], metrics: Iterable[Metric], findings: Iterable[Finding]) -> Verdict:
    """The verdict over all requirements: NO-GO if any requirement is, else INCONCLUSIVE if any is, else GO.

    Args:
        bounds: what `resolve` made of the gate.
        metrics: what was measured; of two numbers of one name the later counts.
        findings: what the audits found, likewise.
    """
    numbers: dict[bool, Mapping[str, Metric | Finding]] = {
        False: {metric.name: metric for metric in metrics},
        True: {finding.name: finding for finding in findings},
    }
    requirements = [_answer(bound, numbers[bound.is_finding].get(bound.subject)) for bound in bounds]
    answers = {requirement.verdict for requirement in requirements}
    worst: Answer = "NO-GO" if "NO-GO" in answers else "INCONCLUSIVE" if "INCONCLUSIVE" in answers else "GO"
    return Verdict(verdict=worst, requirements=requirements)


def write_verdict(folder: Path, verdict: Verdict) -> None:
    """Write `verdict.json`."""
    write_json(folder / "verdict.json", verdict.model_dump(mode="json"))


def _answer(bound: Bound, number: Metric | Finding | None) -> Requirement:
    if number is None:
        verdict: Answer = "INCONCLUSIVE"
        return _requirement(bound, None, None, verdict, f"{bound.subject} was not measured, so nothing is shown either way")
    interval = number.interval
    low, high = (interval.low, interval.high) if interval else (number.value, number.value)
    sides = [_side(low, high, limit, above=True) for limit in (bound.at_most,) if limit is not None]
    sides += [_side(low, high, limit, above=False) for limit in (bound.at_least,) if limit is not None]
    verdict = "NO-GO" if "NO-GO" in sides else "INCONCLUSIVE" if "INCONCLUSIVE" in sides else "GO"
    return _requirement(bound, number.value, interval, verdict, _reason(bound, number.value, interval, verdict))


def _side(low: float, high: float, limit: float, *, above: bool) -> Answer:
    """One bound against one interval; `above`: the forbidden values lie above `limit`. The limit itself passes."""
    inside, outside = (high <= limit, low > limit) if above else (low >= limit, high < limit)
    return "GO" if inside else "NO-GO" if outside else "INCONCLUSIVE"


def _requirement(bound: Bound, value: float | None, interval: Interval | None, verdict: Answer, reason: str) -> Requirement:
    return Requirement(
        subject=bound.subject,
        value=value,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        at_most=bound.at_most,
        at_least=bound.at_least,
        verdict=verdict,
        reason=reason,
    )


def _reason(bound: Bound, value: float, interval: Interval | None, verdict: Answer) -> str:
    wanted = _bounds_in_words(bound.at_most, bound.at_least)
    if interval is None:
        return f"{value:.4g} {'satisfies' if verdict == 'GO' else 'misses'} {wanted} (taken as exact: it has no interval)"
    span = f"{interval.level:.0%} interval {interval.low:.4g} to {interval.high:.4g}"
    words = {
        "GO": f"the whole {span} satisfies {wanted}",
        "NO-GO": f"no part of the {span} satisfies {wanted}",
        "INCONCLUSIVE": f"the bound lies in the {span}, so {wanted} is neither shown nor refuted (more data narrows it)",
    }
    return words[verdict]


def _bounds_in_words(at_most: float | None, at_least: float | None) -> str:
    words = [f"at most {at_most:g}"] if at_most is not None else []
    words += [f"at least {at_least:g}"] if at_least is not None else []
    return " and ".join(words)


def _suggestion(name: str, known: Sequence[str], section: str) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"add the part that measures it under `{section}:`"


def _check_bounds(at_most: float | None, at_least: float | None) -> None:
    if at_most is None and at_least is None:
        raise ValueError("expected a bound: `at_most` or `at_least`")
    if at_most is not None and at_least is not None and at_least > at_most:
        raise ValueError(f"nothing is at least {at_least:g} and at most {at_most:g}")
