"""Two models on one test set: their metrics side by side, and how sure the difference is.

Differences are bootstrapped in pairs: both models are taken on the same resampled documents or examples, so what makes one
easy for both cancels. Where there are per-example results, a second test (exact McNemar for shares of right answers,
otherwise approximate randomization) is corrected for the number of metrics (Holm), and both must agree before a model is
called better. Different test sets are refused, because a difference between them would speak of the texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from lmpipe.base.config import Config
from lmpipe.base.errors import RecipeError, SourceError
from lmpipe.base.measures import METRICS, Interval, Metric, read_metrics
from lmpipe.evaluation import judged_items
from lmpipe.evaluation.bootstrap import Floats, Resampling, interval_of, resampled_weights
from lmpipe.evaluation.catalogue import COUNT_UNITS, describe
from lmpipe.evaluation.document_comparison import paired_document_interval
from lmpipe.evaluation.examples import EXAMPLES, Examples, read_examples, test_set_digest
from lmpipe.evaluation.judged_items import VERDICTS, WIN_RATE, read_scores
from lmpipe.evaluation.significance import approximate_randomization, holm, mcnemar
from lmpipe.evaluation.suite_items import ITEMS, paired_interval, paired_test, read_items
from lmpipe.evaluation.units import PER_DOCUMENT, read_table
from lmpipe.evaluation.weighting import weighted_mean

SIGNIFICANT = 0.05
"""Holm-corrected p values up to this speak of a difference."""


class SignificanceTest(Config):
    """How likely a difference of this size would be if the two models were alike."""

    method: str
    p: float
    adjusted_p: float
    """Corrected for all metrics of the comparison that have a direction."""


class Difference(Config):
    """One metric of two models."""

    name: str
    first: Metric
    second: Metric
    difference: float
    """Second minus first."""
    interval: Interval | None
    """Of the difference; none where the two cannot be paired, `note` then says why."""
    test: SignificanceTest | None = None
    """None where there are no per-example results, or no direction is better."""
    verdict: Literal["better", "worse", "no difference"]
    """The second model against the first. `no difference` means that none is shown, not that there is none."""
    note: str = ""


def compare(first: Path, second: Path, *, resampling: Resampling | None = None) -> list[Difference]:
    """Compare two evaluations, given as output folders of `evaluate` stages.

    Raises:
        RecipeError: when they were not taken on the same texts.
        SourceError: when a folder holds no evaluation.
    """
    resampling = resampling or Resampling()
    files = (EXAMPLES, PER_DOCUMENT, ITEMS, VERDICTS)
    present = [[(folder / file).is_file() for file in files] for folder in (first, second)]
    if present[0][0] and present[1][0]:
        return compare_examples(first, second, resampling=resampling)
    if present[0] != present[1]:
        raise SourceError(
            "the two folders do not hold evaluations of one kind",
            where=f"{first} and {second}",
            expected="output folders of two `evaluate` stages that measure the same thing",
        )
    if present[0][2]:
        return compare_items(first, second, resampling=resampling)
    if present[0][3]:
        return compare_verdicts(first, second, resampling=resampling)
    if not any(present[0]) and all((folder / METRICS).is_file() for folder in (first, second)):
        return compare_numbers(first, second)
    return compare_documents(first, second, resampling=resampling)


def compare_numbers(first: Path, second: Path) -> list[Difference]:
    """Numbers side by side, of evaluations (programs) whose parts are not paired here: no difference is shown."""
    sides = _recorded(first), _recorded(second)
    note = "its items are not paired, so no difference is shown"
    return [difference_of(sides[0][name], sides[1][name], None, note=note) for name in sides[0] if name in sides[1]]


def compare_items(first: Path, second: Path, *, resampling: Resampling) -> list[Difference]:
    """Compare two suites of tasks item by item."""
    items = read_items(first), read_items(second)
    sides = _recorded(first), _recorded(second)
    found = []
    for name in (name for name in sides[0] if name in sides[1]):
        before, after = items[0].get(name), items[1].get(name)
        if before is None or after is None:
            found.append(difference_of(sides[0][name], sides[1][name], None, note="a single number without parts to resample"))
            continue
        if before.digests != after.digests:
            raise _different(first, second, f"the same items of {name}")
        p = paired_test(before, after)
        test = None if p is None else SignificanceTest(method="McNemar, exact", p=p, adjusted_p=p)
        found.append(difference_of(sides[0][name], sides[1][name], paired_interval(before, after, resampling), test=test))
    return _corrected(found)


def compare_verdicts(first: Path, second: Path, *, resampling: Resampling) -> list[Difference]:
    """Compare what a judge said of two models' answers, prompt by prompt: the win rate, for the rest is about the judge."""
    scores = read_scores(first), read_scores(second)
    if scores[0].digests != scores[1].digests:
        raise _different(first, second, "the same prompts and references in the same order, the same judge and criteria")
    sides = _recorded(first), _recorded(second)
    found = []
    for name in (name for name in sides[0] if name in sides[1]):
        if name.endswith(f".{WIN_RATE}"):
            p = judged_items.paired_test(*scores, resampling)
            test = SignificanceTest(method=_randomization(resampling), p=p, adjusted_p=p)
            interval = judged_items.paired_interval(*scores, resampling)
            found.append(difference_of(sides[0][name], sides[1][name], interval, test=test))
        else:
            found.append(difference_of(sides[0][name], sides[1][name], None, note="it speaks of the judge, not of the models"))
    return _corrected(found)


def compare_documents(first: Path, second: Path, *, resampling: Resampling) -> list[Difference]:
    """Compare two perplexity evaluations document by document."""
    tables = read_table(first), read_table(second)
    if tables[0].text_digest_D != tables[1].text_digest_D:
        raise _different(first, second, "the same documents in the same order")
    sides = _recorded(first), _recorded(second)
    found = []
    for name in (name for name in sides[0] if name in sides[1]):
        interval, note = paired_document_interval(name, *tables, resampling)
        found.append(difference_of(sides[0][name], sides[1][name], interval, note=note))
    return found


def _recorded(folder: Path) -> dict[str, Metric]:
    return {metric.name: metric for metric in read_metrics(folder)}


def compare_examples(first: Path, second: Path, *, resampling: Resampling) -> list[Difference]:
    """Compare two evaluations of a task example by example."""
    if test_set_digest(first) != test_set_digest(second):
        raise _different(first, second, "the same examples (ids) with the same right answers")
    examples = read_examples(first), read_examples(second)
    if examples[0].layout.searched != examples[1].layout.searched:
        raise _different(first, second, "the same passages to search: among more of them, each is harder to find")
    for field in ("kind", "classes", "at"):
        values = [getattr(side.layout, field) for side in examples]
        if values[0] != values[1]:
            raise _different(first, second, f"one `{field}` and not {values[0]} and {values[1]}")
    sides = _recorded(first), _recorded(second)
    intervals = _paired_intervals(*examples, resampling)
    tests = _tests(*examples, resampling)
    found = []
    subjects = [side.layout.subject for side in examples]
    for name, before in sides[0].items():
        statistic = name.removeprefix(f"{subjects[0]}.")
        after = sides[1].get(f"{subjects[1]}.{statistic}")
        if after is not None:
            note = "" if statistic in intervals else "a single number without parts to resample"
            interval, test = intervals.get(statistic), tests.get(statistic) if before.direction != "none" else None
            found.append(difference_of(before, after, interval, test=test, note=note))
    return _corrected(found)


def measure_lead(first: Path, second: Path, statistic: str, name: str) -> Metric:
    """How far the second of two evaluations of the same examples is ahead in one statistic, as a number for the gate.

    Args:
        first: folder of per-example results of what has to be beaten.
        second: folder of those of the model.
        statistic: such as `accuracy`.
        name: of the number.

    Returns:
        Second minus first, with the interval of that difference over the same resampled examples.
    """
    examples = read_examples(first), read_examples(second)
    layout = examples[1].layout
    sides = tuple(side.measured() for side in examples)
    right = [side.zero_one() for side in sides]

    def lead(weights_RN: Floats) -> Floats:
        if all(statistic in side for side in right):
            return weighted_mean(weights_RN, right[1][statistic] - right[0][statistic].astype(np.float64))
        before, after = (side.values(weights_RN)[statistic] for side in sides)
        return after - before

    resampled = np.concatenate([lead(weights_RN) for weights_RN in resampled_weights(examples[1].count, layout.resampling)])
    described = describe(layout.kind, statistic)
    return Metric(
        name=name,
        value=float(lead(np.ones((1, examples[1].count)))[0]),
        unit=described.unit,
        direction=described.direction,
        interval=interval_of(resampled, examples[1].count, layout.resampling),
        count=examples[1].count,
        count_unit=COUNT_UNITS[layout.kind],
    )


def _paired_intervals(first: Examples, second: Examples, resampling: Resampling) -> dict[str, Interval | None]:
    """Both models on the same resampled examples."""
    paired = Resampling(resampling.resamples, resampling.level, resampling.seed, f"pairs of {first.layout.resampling.unit}")
    sides = first.measured(), second.measured()
    chunks: dict[str, list[Floats]] = {}
    for weights_RN in resampled_weights(first.count, paired):
        before, after = (side.values(weights_RN) for side in sides)
        for name in before.keys() & after.keys():
            chunks.setdefault(name, []).append(after[name] - before[name])
    return {name: interval_of(np.concatenate(values), first.count, paired) for name, values in chunks.items()}


def _tests(first: Examples, second: Examples, resampling: Resampling) -> dict[str, SignificanceTest]:
    both = first.joined(second).measured()
    shuffles, seed = resampling.resamples, resampling.seed
    p_values = approximate_randomization(both.values, first.count, shuffles=shuffles, seed=seed)
    method = _randomization(resampling)
    tests = {name: SignificanceTest(method=method, p=p, adjusted_p=p) for name, p in p_values.items()}
    right = first.measured().zero_one(), second.measured().zero_one()
    for name in right[0].keys() & right[1].keys():
        p = mcnemar(right[0][name], right[1][name])
        tests[name] = SignificanceTest(method="McNemar, exact", p=p, adjusted_p=p)
    return tests


def _randomization(resampling: Resampling) -> str:
    return f"approximate randomization, {resampling.resamples} shuffles, seed {resampling.seed}"


def _corrected(differences: list[Difference]) -> list[Difference]:
    """With p values corrected for each other, and the verdicts that follow."""
    tested = [position for position, one in enumerate(differences) if one.test is not None]
    adjusted = holm([test.p for one in differences if (test := one.test) is not None])
    corrected = list(differences)
    for position, p in zip(tested, adjusted, strict=True):
        one = differences[position]
        assert one.test is not None
        verdict = one.verdict if p <= SIGNIFICANT else "no difference"
        test = one.test.model_copy(update={"adjusted_p": p})
        corrected[position] = one.model_copy(update={"test": test, "verdict": verdict})
    return corrected


def difference_of(
    before: Metric, after: Metric, interval: Interval | None, *, test: SignificanceTest | None = None, note: str = ""
) -> Difference:
    """The two numbers side by side, with the verdict that the interval gives."""
    return Difference(
        name=before.name,
        first=before,
        second=after,
        difference=after.value - before.value,
        interval=interval,
        test=test,
        verdict=_verdict(interval, before.direction),
        note=note,
    )


def _verdict(interval: Interval | None, direction: str) -> Literal["better", "worse", "no difference"]:
    if interval is None or direction == "none" or interval.low <= 0 <= interval.high:
        return "no difference"
    return "better" if (interval.high < 0) == (direction == "lower") else "worse"


def _different(first: Path, second: Path, expected: str) -> RecipeError:
    return RecipeError(
        "the two models were evaluated on different texts, so their numbers cannot be compared",
        where=f"{first} and {second}",
        expected=expected,
        fix="evaluate both models on one split: equal `data:` section and seed",
    )
