"""From the files of repeated evaluations to the page's tables."""

from __future__ import annotations

from typing import Any

from lmpipe.evaluation.catalogue import SEEDS
from lmpipe.recipes.results import Run
from lmpipe.report.repeat_model import Number, RepeatChart, RepeatRow, Repeats


def repeats_of(run: Run) -> list[Repeats]:
    """Every repeated evaluation of the run."""
    found = [_seeds(facts) for stage in run.stages_of(SEEDS) if (facts := run.read(stage, f"{SEEDS}.json"))]
    found += [_folds(facts) for stage in run.stages_of("folds") if (facts := run.read(stage, "folds.json"))]
    found += [_learning(facts) for stage in run.stages_of("learning") if (facts := run.read(stage, "learning.json"))]
    return found + [
        _robustness(facts, {one["name"]: one for one in run.read(stage, "metrics.json")})
        for stage in run.stages_of("robustness")
        if (facts := run.read(stage, "robustness.json"))
    ]


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


def _learning(found: dict[str, Any]) -> Repeats:
    sizes = found["documents"]
    columns = [f"{share:g} ({size:,} documents)" for share, size in zip(found["shares"], sizes, strict=True)]
    law = next((one for one in found["statistics"] if one["fitted"]), None)
    note = (
        "Training on parts of the same text, each within the next. The last columns are what a power law through these points "
    )
    note += "predicts for twice the text, and by how much that is better; intervals cover test items, not training seeds."
    return Repeats(
        subject=found["subject"],
        title="Learning curve",
        note=f"{note} {_helps(law)}" if law else note,
        columns=[*columns, "Twice the text (predicted)", "Gain"],
        rows=[_of_learning(one) for one in found["statistics"]],
        chart=_curve(law, sizes) if law else None,
    )


def _helps(law: dict[str, Any]) -> str:
    name, gain, interval = law["statistic"].replace("_", " "), law["gain"], law["gain_interval"]
    answers = {"yes": "yes", "no": "no", "not shown": "not shown either way"}
    span = f" [{interval['low']:.3g}, {interval['high']:.3g}]" if interval else ""
    return f"Does more data help? By {name}: {answers[law['helps']]}; twice the text is worth {gain:+.3g}{span}."


def _of_learning(one: dict[str, Any]) -> RepeatRow:
    numbers: list[Number | None] = [
        Number(value=value, unit=one["unit"], **_ends(interval))
        for value, interval in zip(one["values"], one["intervals"], strict=True)
    ]
    numbers += [_law_number(one, "doubled"), _law_number(one, "gain")]
    return RepeatRow(name=f"{one['statistic'].replace('_', ' ')}", numbers=numbers)


def _law_number(one: dict[str, Any], key: str) -> Number | None:
    return None if one[key] is None else Number(value=one[key], unit=one["unit"], **_ends(one[f"{key}_interval"]))


def _ends(interval: dict[str, Any] | None) -> dict[str, float]:
    return {end: interval[end] for end in ("low", "high")} if interval else {}


def _curve(law: dict[str, Any], sizes: list[int]) -> RepeatChart:
    return RepeatChart(
        title=f"{law['statistic'].replace('_', ' ').capitalize()} by size of the training text",
        unit=law["unit"],
        position_unit="documents",
        positions=[*sizes, 2 * sizes[-1]],
        measured=[*law["values"], None],
        fitted=[*law["fitted"], law["doubled"]],
    )


def _robustness(found: dict[str, Any], metrics: dict[str, Any]) -> Repeats:
    changes, subject = found["changes"], found["subject"]
    rows = [
        RepeatRow(
            name=name.replace("_", " "),
            numbers=[
                _measured(plain),
                *(_measured(metrics.get(f"{subject}.{kind}.{name}{end}")) for kind in changes for end in ("", "_drop")),
            ],
        )
        for name, plain in found["plain"].items()
    ]
    return Repeats(
        subject=subject,
        title=f"Changed test text: {', '.join(changes)}",
        note="The same test texts, changed as augmentation changes text; the model and its training are the same. A drop is by "
        "how much a number is worse than on plain text, in pairs; below 0 it is better.",
        columns=["Plain", *(f"{kind}{end}" for kind in changes for end in ("", ": drop"))],
        rows=rows,
    )


def _measured(one: dict[str, Any] | None) -> Number | None:
    return None if one is None else Number(value=one["value"], unit=one["unit"], **_ends(one["interval"]))
