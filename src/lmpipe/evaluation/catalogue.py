"""Every number that a task's evaluation can give: its unit and which way is better. Computes nothing and imports nothing heavy.

A number's name is `<subject>.<statistic>`, the subject being what the recipe calls it, such as `reviews.test`:
`reviews.test.macro_f1`. Statistics that look at the first k of something carry it in their name: `recall_at_5`, `pass_at_10`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lmpipe.base.measures import Direction

TaskKind = Literal["classification", "multilabel", "regression", "generation", "tagging", "retrieval", "code"]

COUNT_UNITS: dict[TaskKind, str] = {
    "classification": "examples",
    "multilabel": "examples",
    "regression": "examples",
    "generation": "examples",
    "tagging": "sentences",
    "retrieval": "queries",
    "code": "problems",
}
"""What one row of the per-example results is: the unit that intervals resample."""


@dataclass(frozen=True)
class Described:
    """How a statistic is spelled in `Metric`."""

    unit: str
    direction: Direction


_SHARE = Described("fraction", "higher")
_ERROR_SHARE = Described("fraction", "lower")
_SCORE = Described("score", "higher")
_AVERAGED = {
    f"{average}_{score}": _SHARE for average in ("macro", "micro", "weighted") for score in ("precision", "recall", "f1")
}
_SINGLE_LABEL = {name: described for name, described in _AVERAGED.items() if not name.startswith("micro")}

STATISTICS_OF: dict[TaskKind, dict[str, Described]] = {
    "classification": {
        "accuracy": _SHARE,
        **_SINGLE_LABEL,
        "mcc": Described("correlation", "higher"),
        "auroc": _SCORE,
        "average_precision": _SCORE,
        "log_loss": Described("nats", "lower"),
        "brier": Described("squared error", "lower"),
        "ece": _ERROR_SHARE,
        "ece_equal_mass": _ERROR_SHARE,
    },
    "multilabel": {
        "subset_accuracy": _SHARE,
        "hamming_loss": _ERROR_SHARE,
        **_AVERAGED,
        "samples_f1": _SHARE,
        "auroc": _SCORE,
        "average_precision": _SCORE,
    },
    "regression": {
        "mae": Described("error", "lower"),
        "rmse": Described("error", "lower"),
        "r2": Described("explained fraction", "higher"),
        "pearson": Described("correlation", "higher"),
        "spearman": Described("correlation", "higher"),
    },
    "generation": {
        "exact_match": _SHARE,
        "token_f1": _SHARE,
        "bleu": Described("0 to 100", "higher"),
        "chrf": Described("0 to 100", "higher"),
        "rouge1": _SHARE,
        "rouge2": _SHARE,
        "rougeL": _SHARE,
        "length": Described("words", "none"),
        "length_ratio": Described("of the reference", "none"),
        "novelty_1": Described("fraction of the output's words", "none"),
        "novelty_2": Described("fraction of the output's bigrams", "none"),
        "distinct_1": Described("fraction", "none"),
        "distinct_2": Described("fraction", "none"),
        "mauve": _SCORE,
        "repetition": Described("fraction of the output's 4-grams", "lower"),
        "unsupported_facts": Described("fraction of the output's numbers and names", "lower"),
    },
    "tagging": {
        "token_accuracy": _SHARE,
        "entity_precision": _SHARE,
        "entity_recall": _SHARE,
        "entity_f1": _SHARE,
        "macro_entity_f1": _SHARE,
    },
    "retrieval": {"recall_at": _SHARE, "ndcg_at": _SCORE, "mrr": _SCORE},
    "code": {"pass_at": _SHARE},
}
"""Statistics of each kind of task in the order in which they are reported. `_at` ones are made once for each k."""

SEEDS = "seeds"
"""Part of the names of numbers over several training seeds, `reviews.test.seeds.accuracy`, and the name of their file."""

ZERO_ONE = ("accuracy", "subset_accuracy", "exact_match")
"""Statistics that are a share of examples which are right or wrong: Wilson's interval, McNemar's test."""

FROM_PROBABILITIES = ("auroc", "average_precision", "log_loss", "brier", "ece", "ece_equal_mass")
"""Statistics that exist only where an evaluation was given probabilities."""


def describe(kind: TaskKind, statistic: str) -> Described:
    """Unit and direction of a statistic.

    >>> describe("retrieval", "recall_at_5").direction
    'higher'
    """
    return STATISTICS_OF[kind][re.sub(r"_at_\d+$", "_at", statistic)]


def statistic_names(kind: TaskKind, at: Iterable[int] = ()) -> list[str]:
    """Every statistic that a task of this kind may give, for `lmpipe check` and for the order of tables.

    >>> statistic_names("retrieval", (1, 5))
    ['recall_at_1', 'recall_at_5', 'ndcg_at_1', 'ndcg_at_5', 'mrr']
    """
    names = []
    for name in STATISTICS_OF[kind]:
        names += [f"{name}_{k}" for k in at] if name.endswith("_at") else [name]
    return names
