"""From the files of repeated evaluations to the page's tables."""

from __future__ import annotations

from typing import Any

from lmpipe.evaluation.catalogue import SEEDS
from lmpipe.recipes.results import Run
from lmpipe.report.repeat_model import Number, RepeatRow, Repeats


def repeats_of(run: Run) -> list[Repeats]:
    """Every repeated evaluation of the run."""
    found = [_seeds(facts) for stage in run.stages_of(SEEDS) if (facts := run.read(stage, f"{SEEDS}.json"))]
    return found + [_folds(facts) for stage in run.stages_of("folds") if (facts := run.read(stage, "folds.json"))]


def _seeds(found: dict[str, Any]) -> Repeats:
    names = [str(seed) for seed in found["seeds"]]
    return Repeats(
        subject=found["subject"],
        title=f"{len(names)} training seeds",
        note=f"Everything but the training seed ({', '.join(names)}) is the same. The interval is of the mean and covers other "
        f"seeds and other test items. The bundle is the model of seed {found['bundled']}, named before anything was measured.",
        columns=["Mean", "Standard deviation", "Lowest", "Highest", *(f"Seed {name}" for name in names)],
        rows=[_spread(one) for one in found["statistics"]],
    )


def _spread(one: dict[str, Any]) -> RepeatRow:
    unit, interval = one["unit"], one["interval"]
    mean = Number(value=one["mean"], unit=unit, low=interval["low"], high=interval["high"])
    others = [one[key] for key in ("standard_deviation", "lowest", "highest")] + one["values"]
    numbers: list[Number | None] = [mean, *(Number(value=value, unit=unit) for value in others)]
    return RepeatRow(name=one["statistic"].replace("_", " "), numbers=numbers)


def _folds(found: dict[str, Any]) -> Repeats:
    folds, repeats = found["folds"], found["repeats"]
    again = f", dealt anew {repeats} times" if repeats > 1 else ""
    return Repeats(
        subject=found["subject"],
        title=f"{folds} folds{again}",
        note="Every document was held out once in each repeat, from a model trained on the others. Numbers are of all answers "
        "taken together; those of single folds stand beside them.",
        columns=["Out of fold", "Lowest fold", "Highest fold"],
        rows=[_of_folds(one, found["subject"]) for one in found["statistics"]],
    )


def _of_folds(one: dict[str, Any], subject: str) -> RepeatRow:
    unit, interval = one["unit"], one["interval"] or {"low": None, "high": None}
    known = [value for value in one["folds"] if value is not None]
    whole = Number(value=one["value"], unit=unit, low=interval["low"], high=interval["high"])
    ends = [Number(value=end(known), unit=unit) if known else None for end in (min, max)]
    name = one["name"].removeprefix(f"{subject}.folds.").replace("_", " ")
    return RepeatRow(name=name, numbers=[whole, *ends])
