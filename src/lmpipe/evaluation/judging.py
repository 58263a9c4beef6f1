"""Numbers of a judge that compares two answers in both orders: who wins, and how far the judge can be believed.

A pair's verdict is the judge's where both orders give the same, and a tie otherwise (Zheng et al. 2023, Judging LLM-as-a-judge,
section 3.4). Knows neither models nor endpoints.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from lmpipe.base.measures import Interval, Metric
from lmpipe.evaluation.bootstrap import Floats, Resampling, interval_of, resampled_totals, resampled_weights
from lmpipe.evaluation.intervals import wilson

Outcome = Literal["win", "loss", "tie"]
OUTCOMES: tuple[Outcome, ...] = ("win", "loss", "tie")
SCORES = {"win": 1.0, "tie": 0.5, "loss": 0.0}
_VERDICT = re.compile(r"[\s\[(*\"'`]*(A|B|[Tt]ie|TIE)[\s\])*\"'`.]*")


def outcome_of(text: str, *, ours: Literal["A", "B"]) -> Outcome | None:
    """What a verdict says of the answer that was shown as `ours`; None where it is no verdict.

    >>> outcome_of("A", ours="A"), outcome_of("[[A]]", ours="B"), outcome_of("tie.", ours="A"), outcome_of("A or B", ours="A")
    ('win', 'loss', 'tie', None)
    """
    found = _VERDICT.fullmatch(text)
    if found is None:
        return None
    said = found[1]
    return "tie" if said.lower() == "tie" else "win" if said == ours else "loss"


def settled(first: Outcome | None, second: Outcome | None) -> Outcome | None:
    """The verdict on a pair from those of both orders; None where either is missing.

    >>> settled("win", "win"), settled("win", "loss"), settled("win", None)
    ('win', 'tie', None)
    """
    if first is None or second is None:
        return None
    return first if first == second else "tie"


def judged_metrics(
    orders: Sequence[tuple[Outcome | None, Outcome | None]], *, subject: str, resampling: Resampling
) -> list[Metric]:
    """Win rate, self-agreement, position bias and the share of unparsable verdicts.

    Args:
        orders: of each pair, what was said of our answer when it came first, and when second; one pair at least has both.
        subject: first part of the names.
        resampling: of the win rate's interval.
    """
    whole = [(first, second) for first, second in orders if first is not None and second is not None]
    scores_N = np.array([SCORES[settled(*pair) or "tie"] for pair in whole])
    totals_R = resampled_totals(scores_N[:, None], resampling)[:, 0]
    win_rate = Metric(
        name=f"{subject}.win_rate",
        value=float(scores_N.mean()),
        unit="fraction",
        direction="higher",
        interval=interval_of(totals_R / len(whole), len(whole), resampling),
        count=len(whole),
        count_unit="pairs",
    )
    same = sum(first == second for first, second in whole)
    flipped = sum({first, second} == {"win", "loss"} for first, second in whole)
    missing = sum(verdict is None for pair in orders for verdict in pair)
    return [
        win_rate,
        _share(f"{subject}.self_agreement", same, len(whole), "pairs", resampling.level, higher=True),
        _share(f"{subject}.position_bias", flipped, len(whole), "pairs", resampling.level, higher=False),
        _share(f"{subject}.unparsable", missing, 2 * len(orders), "verdicts", resampling.level, higher=False),
    ]


def human_metrics(
    judge: Sequence[Outcome | None], human: Sequence[Outcome], *, subject: str, resampling: Resampling
) -> list[Metric]:
    """How far judge and person agree, and beyond chance (Cohen 1960); nothing where no pair has both verdicts.

    Kappa is left out where chance alone would make them agree always.
    """
    both = [(OUTCOMES.index(one), OUTCOMES.index(other)) for one, other in zip(judge, human, strict=True) if one is not None]
    if not both:
        return []
    agreed = sum(one == other for one, other in both)
    metrics = [_share(f"{subject}.human_agreement", agreed, len(both), "pairs", resampling.level, higher=True)]
    cells_N = np.array([one * len(OUTCOMES) + other for one, other in both])
    kappa = float(_kappas(cells_N, np.ones((1, len(both))))[0])
    if np.isfinite(kappa):
        kappas_R = np.concatenate([_kappas(cells_N, weights) for weights in resampled_weights(len(both), resampling)])
        interval: Interval | None = interval_of(kappas_R, len(both), resampling)
        metrics.append(
            Metric(
                name=f"{subject}.human_kappa",
                value=kappa,
                unit="kappa",
                direction="higher",
                interval=interval,
                count=len(both),
                count_unit="pairs",
            )
        )
    return metrics


def _kappas(cells_N: npt.NDArray[np.int64], weights_RN: Floats) -> Floats:
    """Cohen's kappa for each row of weights; not a number where chance alone explains all."""
    classes = len(OUTCOMES)
    tables_RCC = (weights_RN @ np.eye(classes * classes)[cells_N]).reshape(-1, classes, classes)
    tables_RCC = tables_RCC / tables_RCC.sum(axis=(1, 2), keepdims=True)
    seen_R = np.trace(tables_RCC, axis1=1, axis2=2)
    chance_R = (tables_RCC.sum(axis=1) * tables_RCC.sum(axis=2)).sum(axis=1)
    left_R = np.where(chance_R < 1 - 1e-12, 1 - chance_R, np.nan)
    return np.asarray((seen_R - chance_R) / left_R, dtype=np.float64)


def _share(name: str, hits: int, trials: int, unit: str, level: float, *, higher: bool) -> Metric:
    return Metric(
        name=name,
        value=hits / trials,
        unit="fraction",
        direction="higher" if higher else "lower",
        interval=wilson(hits, trials, level),
        count=trials,
        count_unit=unit,
    )
