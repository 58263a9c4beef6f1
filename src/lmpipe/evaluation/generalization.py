"""Did training learn what carries over? Overfitted, underfitted, fine or unclear, with the lines that say why.

Pure functions of numbers that other stages recorded: losses by step, overlap of training and test text, the memorised share.

    curve ----------> did validation turn up? is it still falling? how far is training below it?  --+
    overlap --------> can validation and test be trusted at all?                                   +--> verdict, evidence
    memorised share -> is what carries over more than text repeated?                              --+
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from lmpipe.base.config import Config
from lmpipe.base.measures import Interval

FEWEST_POINTS = 3
"""Validations without which a curve has no shape."""
RISE = 0.02
"""Validation loss this share above its best has turned up: beyond what two validations of one model differ by in practice."""
FALL = 0.02
"""Validation loss that fell by this share over the last quarter of the run was still on its way."""
GAP = 0.10
"""Validation loss this share above training loss is a gap to speak of."""
WIDE_GAP = 0.30
"""A gap that needs no other evidence."""
MEMORISED = 0.01
"""Share of training passages repeated word for word that the audit holds acceptable."""
DUPLICATES = 0.01
"""Share of held-out documents that also stand in training from which held-out numbers are no longer held out."""


class CurvePoint(Config):
    """One validation during training."""

    step: int
    validation: float = Field(gt=0)
    """Mean nats per token (or another loss) on held-out text."""
    train: float | None = Field(default=None, gt=0)
    """The same on training text around that step."""


class FitVerdict(Config):
    """What a curve and its surroundings say."""

    verdict: Literal["overfitted", "underfitted", "fine", "unclear"]
    best_step: int | None
    last_step: int | None
    gap: float | None
    """Validation loss over training loss at the last step, minus 1."""
    evidence: list[str]


def judge_fit(
    curve: Sequence[CurvePoint],
    *,
    baseline: float | None = None,
    duplicates: float | None = None,
    memorised: Interval | None = None,
) -> FitVerdict:
    """Judge how a model generalizes.

    >>> losses = [(1, 5, 5), (2, 4, 3.9), (3, 4.4, 2.5), (4, 5.1, 1.2)]
    >>> judge_fit([CurvePoint(step=step, validation=heldout, train=train) for step, heldout, train in losses]).verdict
    'overfitted'

    Args:
        curve: validations in the order of their steps, of the whole run and not only up to the best.
        baseline: the loss of a simple model (an n-gram model) in the unit of the curve; a model that does not beat it has not
            learned.
        duplicates: share of held-out documents that also stand in the training text.
        memorised: interval of the share of training passages that the model continues word for word, beyond held-out ones.
    """
    if len(curve) < FEWEST_POINTS:
        few = f"{len(curve)} validations: at least {FEWEST_POINTS} are needed to see a direction"
        return FitVerdict(verdict="unclear", best_step=None, last_step=None, gap=None, evidence=[few])
    best, last = min(curve, key=lambda point: point.validation), curve[-1]
    gap = last.validation / last.train - 1 if last.train is not None else None
    over, under, notes = _signs(curve, best, gap, baseline, memorised)
    verdict: Literal["overfitted", "underfitted", "fine", "unclear"]
    verdict = "overfitted" if over else "underfitted" if under else "fine" if gap is not None else "unclear"
    if duplicates is not None and duplicates > DUPLICATES and not over:
        verdict = "unclear"
        notes.append(f"{duplicates:.1%} of the held-out documents also stand in training: validation is no witness")
    if gap is None:
        notes.append("the training loss is not known, so the gap is not either")
    return FitVerdict(verdict=verdict, best_step=best.step, last_step=last.step, gap=gap, evidence=over + under + notes)


def _signs(
    curve: Sequence[CurvePoint], best: CurvePoint, gap: float | None, baseline: float | None, memorised: Interval | None
) -> tuple[list[str], list[str], list[str]]:
    """Lines for overfitting, for underfitting, and for neither."""
    last = curve[-1]
    over, under, notes = [], [], []
    rise = last.validation / best.validation - 1
    if rise > RISE:
        over.append(f"validation rose by {rise:.1%} after step {best.step:,}, up to step {last.step:,}")
    else:
        notes.append(f"validation is at its best at step {best.step:,} of {last.step:,}, and {rise:.1%} above it at the end")
    repeated = memorised is not None and memorised.low > MEMORISED
    if memorised is not None:
        line = f"{memorised.low:.1%} to {memorised.high:.1%} of training passages are repeated word for word"
        (over if repeated and gap is not None and gap > GAP else notes).append(line)
    if gap is not None:
        line = f"validation loss stands {gap:.1%} above training loss"
        (over if gap > WIDE_GAP or (gap > GAP and (repeated or rise > RISE)) else notes).append(line)
    fall = _late_fall(curve)
    if fall > FALL and rise <= RISE and (gap is None or gap <= GAP):
        under.append(f"validation still fell by {fall:.1%} over the last quarter of the run: longer training would help")
    if baseline is not None and best.validation >= baseline:
        under.append(f"the best validation loss {best.validation:.3g} does not beat the simple model's {baseline:.3g}")
    return over, under, notes


def _late_fall(curve: Sequence[CurvePoint]) -> float:
    """By what share the loss fell from the last validation before the last quarter of the steps to the end."""
    border = curve[0].step + 0.75 * (curve[-1].step - curve[0].step)
    before = [point for point in curve if point.step <= border][-1]
    return 1 - curve[-1].validation / before.validation
