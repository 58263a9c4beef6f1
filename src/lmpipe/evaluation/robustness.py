"""One model on one test set and on the same texts changed: each number on changed text, and what the change costs, in pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lmpipe.base.errors import RecipeError
from lmpipe.base.measures import Metric
from lmpipe.evaluation.bootstrap import Resampling, interval_of
from lmpipe.evaluation.repeats import open_items, resampled_statistics


def measure_robustness(
    plain: Path, changed: Mapping[str, Path], subject: str, resampling: Resampling
) -> dict[str, list[tuple[Metric, Metric | None]]]:
    """For each change, every statistic with its drop.

    Args:
        plain: the evaluation of the texts as they are.
        changed: those of the changed texts, by the name of the change; same ids, same right answers.
        subject: how the evaluations' names begin, such as `reviews.test`.
        resampling: how the intervals of drops are made.

    Returns:
        By change, pairs: `reviews.test.keyboard.accuracy` as it was measured, and `reviews.test.keyboard.accuracy_drop`, by how
        much it is worse than on plain text (below 0: better), from the same resampled items; None where no side is better, or
        no items can be resampled.

    Raises:
        RecipeError: when the evaluations are not of the same items.
    """
    before = open_items(plain, subject)
    found = {}
    for kind, folder in changed.items():
        after = open_items(folder, subject)
        if after.digest != before.digest:
            raise RecipeError(
                f"the texts changed by {kind} are not those of {subject}",
                expected="the same examples (ids) with the same right answers",
            )
        resampled = resampled_statistics([before, after], resampling)
        pairs = []
        for name, own in after.recorded.items():
            measured = own.model_copy(update={"name": f"{subject}.{kind}.{name}"})
            drop = None
            if name in resampled and name in before.recorded and own.direction != "none":
                sign = 1.0 if own.direction == "higher" else -1.0
                drops_R = sign * (resampled[name][:, 0] - resampled[name][:, 1])
                interval = interval_of(np.asarray(drops_R), before.count, _paired(resampling, before.unit))
                value = sign * (before.recorded[name].value - own.value)
                named = {"name": f"{subject}.{kind}.{name}_drop", "direction": "lower"}
                drop = own.model_copy(update={**named, "value": value, "interval": interval})
            pairs.append((measured, drop))
        found[kind] = pairs
    return found


def _paired(resampling: Resampling, unit: str) -> Resampling:
    return Resampling(resampling.resamples, resampling.level, resampling.seed, f"pairs of {unit}")
