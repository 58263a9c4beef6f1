"""Held-out loss: the same windows each time, dropout off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray

from lmpipe.base.errors import TrainingError
from lmpipe.models.network import Network
from lmpipe.tokens.loader import Loader
from lmpipe.tokens.shards import open_shards
from lmpipe.training.compiling import LossFunction
from lmpipe.training.objectives import Losses, Objective
from lmpipe.training.ranks import ALONE, Ranks
from lmpipe.training.step import Part, parts_of, rows_at_once


class Judged(NamedTuple):
    """What a validation found, per supervised token or answer."""

    loss: float
    accuracy: float | None
    """The share of right answers, where they are counted."""
    measured: dict[str, float]
    """What else the objective measures."""


def validation_loss(
    network: Network,
    losses: LossFunction,
    objective: Objective,
    batches: Sequence[Sequence[NDArray[Any]]],
    *,
    micro_rows: int,
    device: str,
    ranks: Ranks = ALONE,
    row_tokens: int | None = None,
    divided: bool = False,
) -> Judged:
    """The means over the batches, dropout off; several processes, `ranks`, take one batch each in turn. Whether the weights are
    `divided` among them: gradients are then off, which FSDP would otherwise wait for.
    `micro_rows`, `row_tokens`: see `rows_at_once`.

    Without dropout training and predicting compute the same, so the compiled step is used as it is, gradients on: turned off,
    torch compiles it a second time (22 processor seconds at the quickstart's shape, half of what the step itself took).
    """
    total, count, right = 0.0, 0, 0.0
    counted, measured = False, dict[str, float]()
    plain = divided or _drops(network)
    for number in range(ranks.rank, -(-len(batches) // ranks.count) * ranks.count, ranks.count):
        batch = batches[min(number, len(batches) - 1)]
        counts = number < len(batches)  # beyond the end the last one again, for nothing, so that all compute equally often
        for part in parts_of(batch, rows_at_once(batch, micro_rows, row_tokens), device):
            found = without_dropout(network, objective, part) if plain else losses(*part)
            total += float(found.nats.detach()) * counts
            counted = found.right is not None
            right += float(found.right) * counts if found.right is not None else 0.0
            for name, value in (found.measured or {}).items():
                measured[name] = measured.get(name, 0.0) + float(value.detach()) * counts
        count += objective.supervised(batch) * counts
    total, all_supervised, right, *sums = ranks.totals([total, count, right, *measured.values()])
    measured, count = dict(zip(measured, sums, strict=True)), max(1, round(all_supervised))
    return Judged(total / count, right / count if counted else None, {name: value / count for name, value in measured.items()})


def _drops(network: Network) -> bool:
    """Whether training drops something; of a model that Transformers computes, whose modules have many names for it, always."""
    rates = (getattr(module, "dropout", 0.0) for module in network.modules())
    return network.config.kind == "auto" or any(isinstance(rate, float) and rate > 0 for rate in rates)


@torch.no_grad()
def without_dropout(network: Network, objective: Objective, part: Part) -> Losses:
    """Of one part, predicted rather than trained."""
    was_training = network.training
    found = objective.losses(network.eval(), *part)
    network.train(was_training)
    return found


def validation_batches(
    folder: Path, objective: Objective, context_length: int, rows: int, budget: int
) -> list[Sequence[NDArray[Any]]]:
    """The same windows each time, prepared the same way: the first of a fixed order, of the training step's shape.

    Raises:
        TrainingError: when the split is shorter than the context.
    """
    shards = open_shards(folder)
    if shards.tokens <= context_length:
        raise TrainingError(
            f"the validation split has {shards.tokens:,} tokens, and the model's context is {context_length:,}",
            expected=f"at least {context_length + 1:,} tokens",
            fix="give split.validation a larger share, read more text, or shorten model.context",
        )
    rows = max(1, min(rows, shards.tokens // context_length - 1))
    loader = Loader(shards, context_length=context_length, batch_size=rows, seed=0)
    wanted = max(1, budget // loader.tokens_per_batch)
    numbers = range(min(wanted, max(1, int(loader.batches_per_epoch))))
    return [objective.prepare(loader.batch(number), number) for number in numbers]
