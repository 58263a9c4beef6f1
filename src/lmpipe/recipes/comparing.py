"""Two runs side by side: every shared metric with its interval, the paired difference, and what differs in their recipes.

Where both trained several seeds, their means are compared too, by a bootstrap over seeds and test items."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lmpipe.base.errors import RecipeError
from lmpipe.base.measures import Interval
from lmpipe.pipeline.changes import differences
from lmpipe.recipes.results import Run, open_run

ANSWERS = {"better": "second is better", "worse": "first is better", "no difference": "no difference shown"}


def compare_runs(first: str, second: str, *, store: str = "store") -> dict[str, Any]:
    """Compare two runs.

    Raises:
        RecipeError: when a run is not there, or the two share no evaluation on the same text.
    """
    runs = open_run(first, store), open_run(second, store)
    rows = [row for stage in runs[0].stages_of("evaluate") for row in _rows(stage, *runs)]
    rows += [row for stage in runs[0].stages_of("seeds") for row in _rows_of_seeds(stage, *runs)]
    if not rows and (unfinished := [run for run in runs if run.status != "finished"]):
        raise RecipeError(
            "a run that is not finished has nothing to compare",
            where=" and ".join(f"{run.id} of '{run.name}' is {run.status}" for run in unfinished),
            expected="two runs that were evaluated",
            fix="run the recipe again: it goes on where it stopped",
        )
    if not rows:
        raise RecipeError(
            "the two runs share no evaluation",
            where=f"{runs[0].id} and {runs[1].id}",
            expected="`evaluate` parts on a corpus and split of the same names",
        )
    return {
        "first": f"{runs[0].name} {runs[0].id}",
        "second": f"{runs[1].name} {runs[1].id}",
        "metrics": rows,
        "summary": _summary(rows),
        "recipe_changes": _recipe_changes(*runs),
    }


def _summary(rows: list[dict[str, Any]]) -> str:
    """How many metrics speak for which run."""
    counts = Counter(row["answer"] for row in rows)
    return ", ".join(f"{answer}: {counts[answer]} of {len(rows)}" for answer in ANSWERS.values() if counts[answer])


def _recipe_changes(first: Run, second: Run) -> list[str]:
    recipes = ({"version": 0, "config": run.entry.recipe} for run in (first, second))
    return [line.removeprefix("config.") for line in differences(*recipes)]


def _rows(stage: str, first: Run, second: Run) -> list[dict[str, Any]]:
    from lmpipe.evaluation.comparison import compare

    folders = first.folder(stage), second.folder(stage)
    if folders[0] is None or folders[1] is None:
        return []
    return [
        {
            "name": row.name,
            "first": _number(row.first.value, row.first.interval),
            "second": _number(row.second.value, row.second.interval),
            "difference": _number(row.difference, row.interval),
            "answer": ANSWERS[row.verdict],
            "p": f"{row.test.adjusted_p:.2g} ({row.test.method})" if row.test else "",
            "note": row.note,
            "values": row.model_dump(mode="json"),
        }
        for row in compare(folders[0], folders[1])
    ]


def _rows_of_seeds(stage: str, first: Run, second: Run) -> list[dict[str, Any]]:
    """Both runs over all their seeds, where both have several."""
    from lmpipe.evaluation.catalogue import SEEDS
    from lmpipe.evaluation.repeats import compare_seeds

    facts = [run.read(stage, f"{SEEDS}.json") for run in (first, second)]
    if not all(facts):
        return []
    folders = [
        {seed: folder for seed, name in zip(found["seeds"], found["stages"], strict=True) if (folder := run.folder(name))}
        for run, found in zip((first, second), facts, strict=True)
    ]
    return [
        {
            "name": row.first.name,
            "first": _number(row.first.value, row.first.interval),
            "second": _number(row.second.value, row.second.interval),
            "difference": _number(row.difference, row.interval),
            "answer": ANSWERS[row.verdict],
            "p": "",
            "note": "",
            "values": row.model_dump(mode="json"),
        }
        for row in compare_seeds(folders[0], folders[1], facts[0]["subject"])
    ]


def _number(value: float, interval: Interval | None) -> str:
    return f"{value:.4g}" + (f" ({interval.low:.4g} to {interval.high:.4g})" if interval else "")
