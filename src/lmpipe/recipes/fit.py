"""The overfitting watch of a run: losses, texts on two sides and the memorization audit, handed to `judge_fit`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from lmpipe.audit.config import EXTRACTABLE
from lmpipe.base.files import read_json
from lmpipe.base.measures import Interval
from lmpipe.data.splitting.leakage import FACTS, LEAKS
from lmpipe.evaluation.generalization import CurvePoint, judge_fit
from lmpipe.recipes.results import Run
from lmpipe.recipes.schema import Recipe
from lmpipe.report.task_model import Fit

AROUND = 10
"""Training losses behind the one that stands beside a validation: single batches are too noisy."""
HELD_OUT = ("validation", "test")
NOT_LOOKED = "whether held-out texts also stand in training was not looked for (split: leakage looks for them)"


def fits_of(run: Run, recipe: Recipe, cards: Sequence[Mapping[str, Any]]) -> list[Fit]:
    """A verdict for each phase of training that left losses. What the audit measured of the model counts for the last phase."""
    sizes = {card["name"]: card.get("splits") or {} for card in cards}
    found = []
    for phase in recipe.train:
        folder = run.folder(f"train-{phase.name}")
        curve = list(curve_of(folder / "curve.jsonl")) if folder else []
        if not curve:
            continue
        corpus = phase.source()
        leaked = leaked_share(run.folder(f"split-{corpus}"), sizes.get(corpus, {}))
        memorised = _memorised(run) if phase is recipe.train[-1] else None
        judged = judge_fit(curve, duplicates=leaked, memorised=memorised)
        notes = [NOT_LOOKED] if leaked is None else [f"{leaked:.1%} of the held-out texts also stand in training"]
        found.append(Fit(phase=phase.name, **judged.model_dump(exclude={"evidence"}), evidence=judged.evidence + notes))
    return found


def curve_of(path: Path) -> Iterator[CurvePoint]:
    """Each validation with the mean of the training losses just before it; losses of zero or below have no ratio."""
    if not path.is_file():
        return
    losses: list[float] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        if _positive(row.get("loss")):
            losses.append(row["loss"])
        if _positive(row.get("validation_loss")):
            near = losses[-AROUND:]
            train = sum(near) / len(near) if near else None
            yield CurvePoint(step=row["step"], validation=row["validation_loss"], train=train)


def _positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def leaked_share(split: Path | None, sizes: Mapping[str, Any]) -> float | None:
    """Share of held-out documents of which training holds a copy, equal or near; none where nobody looked."""
    held_out: int = sum(sizes.get(side, {}).get("documents", 0) for side in HELD_OUT)
    if split is None or not (split / FACTS).is_file() or not held_out:
        return None
    if read_json(split / FACTS)["action"] == "drop":
        return 0.0
    leaks = pq.read_table(split / LEAKS, columns=["side", "of", "of_side"]).to_pylist()
    return len({leak["of"] for leak in leaks if leak["side"] == "train" and leak["of_side"] in HELD_OUT}) / held_out


def _memorised(run: Run) -> Interval | None:
    return next((one.interval for one in run.findings if one.name == EXTRACTABLE), None)
