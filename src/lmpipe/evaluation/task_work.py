"""What every evaluation of examples does: walk through the documents, write per-example results, measure them, set a baseline
beside them. Knows no kind of answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.measures import Metric
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.evaluation.catalogue import TaskKind
from lmpipe.evaluation.comparison import measure_lead
from lmpipe.evaluation.examples import ExampleLayout, ExampleWriter
from lmpipe.evaluation.measuring import evaluate_examples
from lmpipe.evaluation.predicting import class_logits
from lmpipe.evaluation.task_config import (
    LEAD,
    AnyTaskEvaluation,
)
from lmpipe.models.network import Encoder, Network
from lmpipe.tokens.examples import ExampleShards

BATCH = 1024


class Asked(NamedTuple):
    """One held-out example, as its document has it."""

    id: str
    text: str
    slices: tuple[str, ...]
    references: tuple[str, ...] = ()
    """Of pairs and matches, every text that counts as right."""
    tags: tuple[str, ...] = ()


Batches = Iterator[tuple[Sequence[Asked], Mapping[str, Sequence[object]]]]
"""Documents, and the columns of their results."""


class TaskWork(NamedTuple):
    """One evaluation's arguments."""

    config: AnyTaskEvaluation
    network: Network
    tokens: Path
    examples: ExampleShards
    asked: Callable[[], Iterator[Asked]]
    output: Path
    seed: int
    device: str
    progress: Progress

    def measured(
        self, kind: TaskKind, batches: Batches, classes: Sequence[str] = (), *, beside: str = "", searched: str = ""
    ) -> list[Metric]:
        """Write per-example results and the numbers made of them; what stands `beside` the model has a folder of its own;
        `searched`: digest of the passages, where there are any."""
        output = self.output / beside
        output.mkdir(exist_ok=True)
        layout = ExampleLayout(
            kind=kind,
            subject=".".join(part for part in (self.config.on, self.config.split, beside) if part),
            classes=tuple(classes),
            slices=self.config.slices,
            at=self.config.ranks(),
            searched=searched,
            resamples=self.config.resamples,
            level=self.config.level,
            seed=derive_seed(self.seed, "bootstrap", self.config.on, self.config.split) % 10**6,
        )
        with ExampleWriter(output, layout) as writer:
            for rows, columns in batches:
                values = {name: [row.slices[n] for row in rows] for n, name in enumerate(self.config.slices)}
                writer.add([row.id for row in rows], columns, texts=[row.text for row in rows], slices=values)
        return evaluate_examples(output)

    def beside(
        self, kind: TaskKind, baseline: str, batches: Batches, classes: Sequence[str] = (), *, searched: str = ""
    ) -> list[Metric]:
        """The numbers of a baseline, and how far the model, measured before it, is ahead."""
        found = self.measured(kind, batches, classes, beside=baseline, searched=searched)
        name = LEAD.format(statistic=self.config.decisive, baseline=baseline)
        subject = f"{self.config.on}.{self.config.split}"
        return [*found, measure_lead(self.output / baseline, self.output, self.config.decisive, f"{subject}.{name}")]

    def batches(self, keep: NDArray[np.bool_] | None = None) -> Iterator[tuple[list[int], list[Asked]]]:
        """The documents, with their numbers, some at a time."""
        numbers, rows = [], []
        for number, row in enumerate(self.asked()):
            if keep is not None and not keep[number]:
                continue
            numbers.append(number)
            rows.append(row)
            if len(rows) == BATCH:
                yield numbers, rows
                numbers, rows = [], []
        if rows:
            yield numbers, rows

    def logits(self, examples: ExampleShards) -> NDArray[np.float32]:
        """Of every example."""
        assert isinstance(self.network, Encoder), "check refuses other architectures"
        return class_logits(self.network, examples, device=self.device, progress=self.progress)

    @property
    def validation(self) -> ExampleShards:
        """Where thresholds are chosen."""
        return ExampleShards(self.tokens / "validation")
