"""Checks before money is spent: a minute lost here is better than a night.

They leave no trace: the random state and the model are as before.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from lmpipe.base.errors import TrainingError
from lmpipe.models.network import Network
from lmpipe.training.objectives import Objective
from lmpipe.training.optimizers import all_finite
from lmpipe.training.random_state import random_state, set_random_state
from lmpipe.training.step import Part, parts_of

FIRST_LOSS_TOLERANCE = 0.25
"""A fresh model's loss lies within this share of ln(vocabulary): it knows nothing yet, and is not sure of nonsense either."""
ACCUMULATION_TOLERANCE = 0.01
"""Relative difference of a loss computed whole and in parts; bf16 rounds to about 0.4%."""
OVERFIT_ROWS, OVERFIT_STEPS = 2, 6
KNOWN = 1e-3
"""A few rows with so small a loss are known by heart already."""
OVERFIT_RATES = {True: 2e-3, False: 1e-4}
"""Of a fresh model, and of one that has learned already: too large a step would throw that away."""


def check_startup(
    network: Network,
    batch: Sequence[NDArray[Any]],
    objective: Objective,
    *,
    micro_rows: int,
    device: str,
    fresh: bool = True,
    has_answers: bool = True,
    weights: Iterable[Tensor] | None = None,
) -> None:
    """Check a network and its `weights` (None: all parameters) on the first batch: that it knows nothing yet only where it is
    `fresh`, that it can learn a few rows only where these say what is right.

    Raises:
        TrainingError: when a parameter is not finite, nothing is supervised, the first loss is implausible, parts do not add up
            to the whole batch, or a few rows cannot be learned.
    """
    if not all_finite(network.parameters() if weights is None else weights):
        raise TrainingError("a weight of the first model is not a finite number", fix="check the model's configuration")
    if objective.supervised(batch) == 0:
        raise TrainingError(
            "nothing in the first batch is to be learned",
            expected="at least one supervised token or answer",
            fix="check what the corpus holds, and the objective",
        )
    before = random_state(device)
    was_training = network.training
    try:
        network.eval()
        with torch.no_grad():  # in inference mode FSDP would keep weights that nothing may be learned with
            _check_first_loss(network, batch, objective, micro_rows, device, fresh)
        if has_answers:
            _check_learns(network, batch, objective, device, OVERFIT_RATES[fresh])
    finally:
        network.train(was_training)
        set_random_state(before, device)


def _check_first_loss(
    network: Network, batch: Sequence[NDArray[Any]], objective: Objective, micro_rows: int, device: str, fresh: bool
) -> None:
    parts = parts_of(batch, micro_rows, device)
    count = objective.supervised(batch)
    in_parts = sum(float(objective.losses(network, *part).nats) for part in parts) / count
    expected = objective.first_loss(network) if fresh else None
    if not math.isfinite(in_parts) or (expected and abs(in_parts - expected) > FIRST_LOSS_TOLERANCE * expected):
        raise TrainingError(
            f"the first loss is {in_parts:.2f}",
            expected=f"about {expected:.2f} = ln({math.exp(expected):,.0f}): a fresh model knows nothing yet"
            if expected
            else "a finite number",
            fix="check the vocabulary size and the initial weights",
        )
    if len(parts) > 1:
        whole = sum(float(objective.losses(network, *part).nats) for part in parts_of(batch, len(batch[0]), device)) / count
        if abs(whole - in_parts) > ACCUMULATION_TOLERANCE * abs(whole):
            raise TrainingError(
                f"the batch in {len(parts)} parts has the loss {in_parts:.4f}, as a whole {whole:.4f}",
                expected="the same number: parts are weighed by their tokens",
                fix="leave micro_batch_tokens out, and report this",
            )


def _check_learns(network: Network, batch: Sequence[NDArray[Any]], objective: Objective, device: str, rate: float) -> None:
    """A copy must fit a few rows a little better after some steps."""
    pupil = copy.deepcopy(network).float().train()
    optimizer = torch.optim.AdamW([p for p in pupil.parameters() if p.requires_grad], lr=rate)
    rows = [array[:OVERFIT_ROWS] for array in batch]
    (part,) = parts_of(rows, OVERFIT_ROWS, device)
    count = max(1, objective.supervised(rows))
    before = _judged(pupil, objective, part)
    for _ in range(OVERFIT_STEPS):
        optimizer.zero_grad()
        (objective.losses(pupil, *part).minimised / count).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    after = _judged(pupil, objective, part)
    if not after < before and before / count > KNOWN:
        raise TrainingError(
            f"{OVERFIT_STEPS} steps on {OVERFIT_ROWS} rows took the loss from {before / count:.3f} to {after / count:.3f}",
            expected="a fall: a model must be able to learn a few rows by heart",
            fix="check the model's configuration (width, layers, dropout)",
        )


@torch.no_grad()
def _judged(pupil: Network, objective: Objective, part: Part) -> float:
    """What is minimised, without dropout's noise."""
    found = float(objective.losses(pupil.eval(), *part).minimised)
    pupil.train()
    return found
