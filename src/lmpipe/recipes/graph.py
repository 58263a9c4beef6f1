"""What each kind of stage is: its version, where its function stands, and the graph that stages are put into.

`VERSIONS` is where the author of a stage states that its meaning changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lmpipe.base.config import Config
from lmpipe.pipeline.stage import Stage

VERSIONS = {
    "read": 3,
    "synthesize": 1,
    "repair": 2,
    "boilerplate": 1,
    "measure": 2,
    "learn_quality": 1,
    "learn_toxicity": 1,
    "learn_perplexity": 1,
    "quality": 1,
    "toxicity": 1,
    "perplexity": 1,
    "exact": 2,
    "minhash": 1,
    "semantic": 1,
    "lines": 2,
    "paragraphs": 2,
    "spans": 2,
    "select": 2,
    "names": 1,
    "mask": 3,
    "toward": 2,
    "split": 4,
    "decontaminate": 1,
    "balance": 4,
    "arrange": 3,
    "augment": 2,
    "canaries": 1,
    "pretrained": 2,
    "adopt": 2,
    "tokenizer": 3,
    "tokenize": 4,
    "mix": 1,
    "train": 6,
    "ngram": 1,
    "hidden_markov": 1,
    "evaluate": 2,
    "linear": 1,
    "hmm": 1,
    "answers": 7,
    "suite": 3,
    "programs": 3,
    "judged": 3,
    "chatbot": 3,
    "samples": 2,
    "seeds": 1,
    "fold": 1,
    "folds": 2,
    "share": 1,
    "learning": 2,
    "change": 1,
    "robustness": 1,
    "memorization": 3,
    "energy": 1,
    "gate": 1,
    "bundle": 6,
}

MODULES = {
    **dict.fromkeys(("linear", "hmm", "answers", "suite", "programs", "chatbot"), "lmpipe.recipes.task_stages"),
    "judged": "lmpipe.recipes.judging",
    **dict.fromkeys(("seeds", "fold", "folds", "share", "learning", "change", "robustness"), "lmpipe.recipes.repeat_stages"),
}
"""Where stages are that do not stand in `stages.py`."""

WITH_TORCH = frozenset(
    ("train", "evaluate", "answers", "suite", "programs", "judged", "chatbot", "samples", "memorization", "semantic", "bundle")
)
"""Kinds that load torch, which takes a second: once for all of a run's."""


@dataclass
class Graph:
    """The stages of one recipe, by role, in an order in which they can run."""

    stages: dict[str, Stage] = field(default_factory=dict)
    corpora: dict[str, list[str]] = field(default_factory=dict)
    """Names of the data stages of each corpus, in order: what its card is made from."""

    def add(self, kind: str, name: str, config: Config, inputs: Mapping[str, Stage] | None = None, **options: Any) -> Stage:
        """Make one stage of `kind` and keep it under `name`."""
        stage = Stage(
            name=name,
            version=VERSIONS[kind],
            config=config,
            run=f"{MODULES.get(kind, 'lmpipe.recipes.stages')}:{kind}",
            inputs=dict(inputs or {}),
            preload=("torch",) if kind in WITH_TORCH else (),
            **options,
        )
        self.stages[name] = stage
        return stage
