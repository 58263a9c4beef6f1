"""What a reader sees before scrolling: what was trained, the verdict, the three numbers that matter, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence

from lmpipe.base.measures import Finding, Metric, Requirement
from lmpipe.report.html import Content, Markup, element, join
from lmpipe.report.model import Failure, Report
from lmpipe.report.numbers import bounds, change, compact, count, duration, iso, measured, moment, plural, size, unit_name
from lmpipe.report.parts import VERDICT_TONES, Tone, bound_text, capital, facts, find, label, qualifier, readable, sign
from lmpipe.report.sections.audits import against_threshold
from lmpipe.report.sections.cost import energy_text, spent
from lmpipe.report.sections.result import required_value, unit_of

HEADLINES = 3


def first_screen(report: Report) -> Markup:
    """The page's header."""
    kicker = element(
        "p",
        "lmpipe report, run ",
        element("code", report.run_id),
        ", ",
        element("time", moment(report.created_at), datetime=iso(report.created_at)),
        class_="kicker",
    )
    return element(
        "header",
        kicker,
        element("h1", report.run_name),
        element("p", lede(report), class_="lede"),
        _verdict(report),
        _headlines(report),
        _spent(report),
    )


def lede(report: Report) -> str:
    """What was trained and on what, from whatever is known; the author's own sentence first."""
    made, fed = [], []
    if report.architecture:
        shape = f"{plural(report.architecture.layers, 'layer')}, width {count(report.architecture.width)}"
        made.append(f"A {report.architecture.kind} model of {compact(report.architecture.parameters)} parameters ({shape})")
    tokens = sum(phase.tokens for phase in report.phases)
    if tokens:
        fed.append(f"trained on {compact(tokens)} tokens")
    kept = sum(corpus.steps[-1].rows_out for corpus in report.corpora if corpus.steps)
    if kept:
        corpora = f" in {plural(len(report.corpora), 'corpus', 'corpora')}" if len(report.corpora) > 1 else ""
        fed.append(f"from {plural(kept, 'document')}{corpora}")
    if fed and report.failure:
        fed.append("before the run stopped")
    if not made and not fed:
        known = "No model was made in this run."
    else:
        known = ", ".join([*made, " ".join(fed)] if made and fed else made or [capital(" ".join(fed))]) + "."
    return f"{report.description} {known}".strip()


def standing(report: Report) -> tuple[str, Tone, str]:
    """The word at the top, its tone, and the sentence beside it."""
    if report.failure:
        return "FAILED", "bad", f"The run stopped in stage {report.failure.stage}: {report.failure.what}"
    if report.verdict is None:
        return "NO VERDICT", "plain", "No gate was asked in this run, so nothing here says whether the model is good enough."
    word = report.verdict.verdict
    return word, VERDICT_TONES[word], _reason(word, report)


def _reason(word: str, report: Report) -> str:
    requirements = report.verdict.requirements if report.verdict else []
    met = [one for one in requirements if one.verdict == "GO"]
    if word == "GO":
        return f"{len(met)} of {plural(len(met), 'requirement')} met: {_listed(met, report)}."
    others = [one for one in requirements if one.verdict == word]
    how = "not met" if word == "NO-GO" else "not decided by the interval"
    return f"{len(others)} of {plural(len(requirements), 'requirement')} {how}: {_listed(others, report)}."


def _listed(requirements: Sequence[Requirement], report: Report) -> str:
    """Each requirement as `bits per byte 1.651 [1.602, 1.703], asked at most 2`; one without a bound by its reason."""
    return "; ".join(_in_words(one, report) for one in requirements)


def _in_words(one: Requirement, report: Report) -> str:
    known: list[Metric | Finding] = [*report.metrics, *report.findings]
    number = find(one.subject, known)
    name = label(number) if number else readable(one.subject)
    name, unit = name[:1].lower() + name[1:], unit_of(one, report)
    asked = bound_text(one.at_most, one.at_least, "" if unit_name(unit) == readable(one.subject) else unit)
    if one.value is None or not asked:
        return f"{name}: {one.reason.rstrip('.')}"
    return f"{name} {required_value(one, unit)}, asked {asked}"


def _verdict(report: Report) -> Markup:
    word, tone, sentence = standing(report)
    text = element(
        "div", element("p", word, class_="word"), element("p", sentence), _failure(report.failure) if report.failure else None
    )
    return element("div", sign(tone), text, class_=f"verdict {tone}")


def _failure(given: Failure) -> Markup:
    return facts([("Where", given.where), ("Expected", given.expected), ("How to fix it", given.fix)], class_="facts failure")


def headline_names(report: Report) -> list[str]:
    """The numbers on top: the recipe's choice, else the compared one, the goal, an accuracy, a finding, whatever is left."""
    known: list[Metric | Finding] = [*report.metrics, *report.findings]
    accuracy = [one.name for one in report.metrics if one.name.endswith("accuracy")]
    chosen = report.headline or [
        *([report.comparison.subject] if report.comparison else []),
        *([report.goal.subject] if report.goal else []),
        *accuracy[:1],
        *(one.name for one in report.findings[:1]),
        *(one.name for one in known),
    ]
    return [name for name in dict.fromkeys(chosen) if find(name, known)][:HEADLINES]


def _headlines(report: Report) -> Markup | None:
    known: list[Metric | Finding] = [*report.metrics, *report.findings]
    chosen = [one for name in headline_names(report) if (one := find(name, known)) is not None]
    return element("dl", [_headline(one, report) for one in chosen], class_="headlines") if chosen else None


def _headline(one: Metric | Finding, report: Report) -> Markup:
    where = "audit" if isinstance(one, Finding) else qualifier(one.name)
    unit = "" if unit_name(one.unit) == readable(one.name) else unit_name(one.unit)
    level = f"{one.interval.level:.0%} interval {bounds(one.interval, one.unit)}" if one.interval else "no interval"
    return element(
        "div",
        element("dt", element("span", label(one), class_="readable"), element("small", where) if where else None),
        element(
            "dd",
            element("b", measured(one.value, one.unit, one.interval)),
            " ",
            element("span", unit, class_="unit"),
            class_="big",
        ),
        element("dd", level),
        [element("dd", line) for line in _context(one, report)],
    )


def _context(one: Metric | Finding, report: Report) -> list[Content]:
    """What makes the number mean something: baselines, what the gate asks, a threshold, or how many items it was taken over."""
    if report.comparison and one.name == report.comparison.subject:
        baselines = [c for c in report.comparison.contenders if c.role == "baseline"]
        return [f"{change(one.value, c.value)} {c.label}" for c in baselines[:2]]
    requirements = report.verdict.requirements if report.verdict else []
    if asked := next((item for item in requirements if item.subject == one.name), None):
        return [[sign(VERDICT_TONES[asked.verdict]), " the gate asks ", bound_text(asked.at_most, asked.at_least, one.unit)]]
    if isinstance(one, Finding):
        tone, text = against_threshold(one)
        return [[sign(tone), " ", text]] if text else []
    return [f"over {count(one.count)} {one.count_unit}"]


def _spent(report: Report) -> Markup | None:
    total = spent(report.stages)
    method = f"by {total.energy_methods[0]}" if len(total.energy_methods) == 1 else ""
    energy = energy_text(total)
    pairs: list[tuple[Content, Content]] = [
        ("Time", duration(total.seconds) if total.seconds is not None else None),
        ("Peak memory", size(total.peak_memory_bytes) if total.peak_memory_bytes is not None else None),
        ("Energy", [energy, element("small", method) if method else None] if energy else None),
        ("Computed on", f"{report.machine.processor}, {plural(report.machine.cores, 'core')}" if report.machine else None),
    ]
    if all(value in (None, "") for _, value in pairs):
        return None
    return join([element("h2", "What it cost", class_="spent-title"), facts(pairs, class_="facts spent")])
