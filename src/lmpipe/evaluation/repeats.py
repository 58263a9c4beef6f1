"""Several trainings of one recipe that differ in their seed alone: what the recipe is worth, beside what one member is.

    seed 1 --> evaluation --+
    seed 2 --> evaluation --+--> mean, standard deviation, min, max, an interval over seeds and test items both
    seed 3 --> evaluation --+

Test items are the same for all seeds, so the two are crossed and not nested (Owen 2007, the pigeonhole bootstrap): each
resample draws items once, for all seeds alike, and seeds once. Items drawn anew for each seed would let what is hard for every
seed cancel out. Few seeds say little about how seeds differ: what a resample of S seeds adds is widened by sqrt(S / (S - 1)),
which makes its variance unbiased, and by Student's t over the normal quantile, which makes up for S being small.

Legend of shape suffixes: R resamples, N items (examples, documents or blocks), S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from lmpipe.base.config import Config
from lmpipe.base.errors import RecipeError
from lmpipe.base.measures import Direction, Interval, Metric, read_metrics
from lmpipe.base.randomness import derive_seed
from lmpipe.evaluation.bootstrap import Floats, Resampling, interval_of, resampled_weights
from lmpipe.evaluation.catalogue import SEEDS
from lmpipe.evaluation.comparison import Difference, difference_of
from lmpipe.evaluation.examples import EXAMPLES, read_examples, test_set_digest
from lmpipe.evaluation.intervals import student_quantile, wilson
from lmpipe.evaluation.metrics import KINDS, statistic
from lmpipe.evaluation.task_config import LEAD
from lmpipe.evaluation.units import read_table
from lmpipe.evaluation.weighting import weighted_sum


class Spread(Config):
    """One statistic over several seeds."""

    statistic: str
    unit: str
    direction: Direction
    values: list[float]
    """One for each seed, in their order."""
    mean: float
    standard_deviation: float
    """Of the values, with n - 1."""
    lowest: float
    highest: float
    interval: Interval
    """Of the mean, as other seeds and other test items would have it."""
    count: int
    count_unit: str

    def metric(self, subject: str) -> Metric:
        """The mean, as a number that a gate can ask for."""
        return Metric(
            name=f"{subject}.{self.statistic}",
            value=self.mean,
            unit=self.unit,
            direction=self.direction,
            interval=self.interval,
            count=self.count,
            count_unit=self.count_unit,
        )


Values = Callable[[Floats], dict[str, Floats]]
LEAD_PART = LEAD.format(statistic="", baseline="")
BOUNDS = {"fraction": (0.0, 1.0), "score": (0.0, 1.0), "correlation": (-1.0, 1.0)}
"""Where no value can lie outside, by unit; a lead is a difference and has none."""


@dataclass(frozen=True)
class Items:
    """One evaluation, ready to be weighted by items."""

    count: int
    unit: str
    digest: str
    """Equal where the same questions were asked."""
    values: Values
    """Every statistic for each row of weights (R, N)."""
    right: Mapping[str, Floats]
    """Of statistics that are shares of right answers: which are right."""
    recorded: Mapping[str, Metric]
    """What the evaluation says of itself, by statistic; baselines left out."""


def open_items(folder: Path, subject: str) -> Items:
    """Read an evaluation.

    Args:
        folder: the output folder of an `evaluate` stage.
        subject: how its numbers' names begin, such as `reviews.test`.

    Raises:
        SourceError: when the folder holds none.
    """
    own = {metric.name.removeprefix(f"{subject}."): metric for metric in read_metrics(folder)}
    recorded = {name: metric for name, metric in own.items() if "." not in name}
    if (folder / EXAMPLES).is_file():
        examples = read_examples(folder)
        measured = examples.measured()
        unit = examples.layout.resampling.unit
        values = _with_leads(folder, measured.values, recorded)
        return Items(measured.count, unit, test_set_digest(folder), values, measured.zero_one(), recorded)
    table = read_table(folder)

    def ratios(weights_RN: Floats) -> dict[str, Floats]:
        totals = {name: weighted_sum(weights_RN, column_N) for name, column_N in table.columns_U.items()}
        return {name: statistic(name, totals) for name in KINDS}

    digest = " ".join(table.text_digest_D)
    return Items(len(table.columns_U["nats"]), table.unit, digest, ratios, {}, recorded)


def _with_leads(folder: Path, own: Values, recorded: Mapping[str, Metric]) -> Values:
    """The statistics, and how far they are ahead of the baselines' on the same items, where that was recorded."""
    leads = [name for name in recorded if LEAD_PART in name]
    beside = {name: read_examples(folder / name.split(LEAD_PART)[1]).measured() for name in leads}

    def values(weights_RN: Floats) -> dict[str, Floats]:
        found = own(weights_RN)
        for name, baseline in beside.items():
            decisive = name.split(LEAD_PART)[0]
            found[name] = found[decisive] - baseline.values(weights_RN)[decisive]
        return found

    return values


def measure_seeds(folders: Mapping[int, Path], subject: str, resampling: Resampling) -> list[Spread]:
    """Every statistic over several seeds.

    Args:
        folders: the evaluation of each seed, all of the same test items.
        subject: how the numbers' names begin.
        resampling: how many resamples, at what level, from which seed.

    Raises:
        RecipeError: when the evaluations are not of the same items.
    """
    sides = [open_items(folder, subject) for folder in folders.values()]
    _check_same(sides)
    return spreads_of(sides, resampling)


def spreads_of(sides: Sequence[Items], resampling: Resampling, *, members: str = SEEDS) -> list[Spread]:
    """As `measure_seeds`, of evaluations that are open; `members` is what they are called."""
    resampled = resampled_statistics(sides, resampling)
    drawn_RS = _drawn(len(sides), resampling, "seeds")
    found = []
    for name, first in sides[0].recorded.items():
        if not all(name in side.recorded for side in sides):
            continue
        values = [side.recorded[name].value for side in sides]
        own_R = _two_level(resampled[name], drawn_RS, resampling.level) if name in resampled else np.empty(0)
        interval = _described(own_R, sides[0], f"{len(sides)} {members}", resampling) or _over_seeds(
            name, sides, resampling.level
        )
        interval = _not_narrower(interval, name, sides, resampling.level)
        found.append(
            Spread(
                statistic=name,
                unit=first.unit,
                direction=first.direction,
                values=values,
                mean=math.fsum(values) / len(values),
                standard_deviation=float(np.std(values, ddof=1)),
                lowest=min(values),
                highest=max(values),
                interval=_within_bounds(interval, name, first.unit),
                count=first.count,
                count_unit=first.count_unit,
            )
        )
    return found


def compare_seeds(
    first: Mapping[int, Path], second: Mapping[int, Path], subject: str, resampling: Resampling | None = None
) -> list[Difference]:
    """Two recipes with several seeds each, on the same test items: paired by seed where both used the same seeds, otherwise
    with the seeds of each drawn by themselves.

    Raises:
        RecipeError: when they were not taken on the same items.
    """
    resampling = resampling or Resampling()
    sides = [[open_items(folder, subject) for folder in folders.values()] for folders in (first, second)]
    _check_same([*sides[0], *sides[1]])
    resampled = [resampled_statistics(side, resampling) for side in sides]
    before, after = (
        {spread.statistic: spread.metric(f"{subject}.{SEEDS}") for spread in spreads_of(side, resampling)} for side in sides
    )
    paired = list(first) == list(second)
    drawn = [_drawn(len(side), resampling, "seeds" if paired else f"seeds {n}") for n, side in enumerate(sides)]
    found = []
    for name in (name for name in before if name in after and all(name in one for one in resampled)):
        if paired:
            difference_R = _two_level(resampled[1][name] - resampled[0][name], drawn[0], resampling.level)
        else:
            each = [_two_level(one[name], draws, resampling.level) for one, draws in zip(resampled, drawn, strict=True)]
            difference_R = each[1] - each[0]
        seeds = f"{len(first)} seeds paired by seed" if paired else f"{len(first)} and {len(second)} seeds"
        interval = _described(difference_R, sides[0][0], seeds, resampling)
        found.append(difference_of(before[name], after[name], interval))
    return found


def _check_same(sides: Sequence[Items]) -> None:
    if len({side.digest for side in sides}) > 1:
        raise RecipeError(
            "the evaluations are not of the same test items, so their mean says nothing",
            expected="the same examples or documents for every seed",
            fix="evaluate all of them on one split: equal `data:` section and seed",
        )


def resampled_statistics(sides: Sequence[Items], resampling: Resampling) -> dict[str, Floats]:
    """Every statistic of every seed on each resample of the items: (R, S)."""
    chunks: dict[str, list[Floats]] = {}
    for weights_RN in resampled_weights(sides[0].count, resampling):
        found = [side.values(weights_RN) for side in sides]
        for name in set.intersection(*(set(values) for values in found)):
            chunks.setdefault(name, []).append(np.stack([values[name] for values in found], axis=1))
    return {name: np.concatenate(parts) for name, parts in chunks.items()}


def _drawn(seeds: int, resampling: Resampling, of: str) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    generator = np.random.default_rng(derive_seed(resampling.seed, of))
    return generator.integers(0, seeds, size=(resampling.resamples, seeds))


def widening(seeds: int, level: float) -> float:
    """By what the spread of resampled seeds falls short of what other seeds would do.

    >>> [round(widening(n, 0.95), 2) for n in (2, 3, 5, 20)]
    [9.17, 2.69, 1.58, 1.1]
    """
    tail = 0.5 + level / 2
    return math.sqrt(seeds / (seeds - 1)) * student_quantile(tail, seeds - 1) / NormalDist().inv_cdf(tail)


def _two_level(values_RS: Floats, drawn_RS: np.ndarray[tuple[int, ...], np.dtype[np.int64]], level: float) -> Floats:
    """The mean over seeds on resampled items, and what resampled seeds add to it: (R,)."""
    items_R: Floats = values_RS.mean(axis=1)
    seeds_R: Floats = np.take_along_axis(values_RS, drawn_RS, axis=1).mean(axis=1) - items_R
    return items_R + widening(values_RS.shape[1], level) * seeds_R


def _described(values_R: Floats, side: Items, seeds: str, resampling: Resampling) -> Interval | None:
    interval = interval_of(values_R, side.count, resampling)
    if interval is None:
        return None
    method = (
        f"two-level bootstrap over {seeds} and the {side.count} {side.unit} that all share, the former widened by Student's t, "
        f"{resampling.resamples} resamples, seed {resampling.seed}"
    )
    return interval.model_copy(update={"method": method})


def _over_seeds(name: str, sides: Sequence[Items], level: float) -> Interval:
    """For a number that no items can be resampled of: Student's interval of the mean, not narrower than the members' own."""
    members = [side.recorded[name] for side in sides]
    values = [member.value for member in members]
    mean, deviation = math.fsum(values) / len(values), float(np.std(values, ddof=1))
    half = student_quantile(0.5 + level / 2, len(values) - 1) * deviation / math.sqrt(len(values))
    low, high = mean - half, mean + half
    own = [member.interval for member in members if member.interval]
    if len(own) == len(members):
        low = min(low, math.fsum(one.low for one in own) / len(own))
        high = max(high, math.fsum(one.high for one in own) / len(own))
    method = f"Student's t over {len(values)} trainings, not narrower than their own intervals; items are not resampled"
    return Interval(low=low, high=high, level=level, method=method)


def _not_narrower(interval: Interval, name: str, sides: Sequence[Items], level: float) -> Interval:
    """Of shares of right answers, the interval joined with Wilson's: where every seed has everything right, nothing differs
    that could be resampled."""
    if not all(name in side.right for side in sides):
        return interval
    hits = round(sum(float(side.right[name].sum()) for side in sides) / len(sides))
    least = wilson(hits, sides[0].count, level)
    ends = {"low": min(interval.low, least.low), "high": max(interval.high, least.high)}
    return interval.model_copy(update={**ends, "method": f"{interval.method}; not narrower than Wilson's"})


def _within_bounds(interval: Interval, name: str, unit: str) -> Interval:
    """Without what no value can be, however few the seeds."""
    low, high = (-math.inf, math.inf) if LEAD_PART in name else BOUNDS.get(unit, (-math.inf, math.inf))
    return interval.model_copy(update={"low": max(low, interval.low), "high": min(high, interval.high)})
