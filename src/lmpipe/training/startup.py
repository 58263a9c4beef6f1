"""Checks before money is spent: a minute lost here is better than a night.

They leave no trace: the random state and the model are as before.
"""

from __future__ import annotations

import copy
import math

import torch

from lmpipe.base.errors import TrainingError
from lmpipe.models.llama.model import Llama
from lmpipe.tokens.loader import Batch
from lmpipe.training.objectives import causal_nats
from lmpipe.training.optimizers import all_finite
from lmpipe.training.step import parts_of

FIRST_LOSS_TOLERANCE = 0.25
"""A fresh model's loss lies within this share of ln(vocabulary): it knows nothing yet, and is not sure of nonsense either."""
ACCUMULATION_TOLERANCE = 0.01
"""Relative difference of a loss computed whole and in parts; bf16 rounds to about 0.4%."""
OVERFIT_ROWS, OVERFIT_STEPS, OVERFIT_RATE = 2, 6, 2e-3


def check_startup(model: Llama, batch: Batch, *, micro_rows: int, device: str) -> None:
    """Check a fresh model on the first batch.

    Raises:
        TrainingError: when a parameter is not finite, the first loss is implausible, parts do not add up to the whole batch, or
            a few rows cannot be learned.
    """
    if not all_finite(model.parameters()):
        raise TrainingError("a weight of the fresh model is not a finite number", fix="check the model's configuration")
    random_state = torch.get_rng_state()
    was_training = model.training
    try:
        model.eval()
        with torch.inference_mode():
            _check_first_loss(model, batch, micro_rows, device)
        _check_learns(model, batch, device)
    finally:
        model.train(was_training)
        torch.set_rng_state(random_state)


def _check_first_loss(model: Llama, batch: Batch, micro_rows: int, device: str) -> None:
    parts = parts_of(batch, micro_rows, device)
    tokens = batch.targets_BT.size
    in_parts = sum(float(causal_nats(model, *part)) for part in parts) / tokens
    expected = math.log(model.vocab_size)
    if not abs(in_parts - expected) <= FIRST_LOSS_TOLERANCE * expected:
        raise TrainingError(
            f"the first loss is {in_parts:.2f} nats per token",
            expected=f"about ln({model.vocab_size}) = {expected:.2f}: a fresh model knows nothing yet",
            fix="check the vocabulary size and the initial weights",
        )
    if len(parts) > 1:
        whole = float(causal_nats(model, *parts_of(batch, len(batch.inputs_BT), device)[0])) / tokens
        if abs(whole - in_parts) > ACCUMULATION_TOLERANCE * whole:
            raise TrainingError(
                f"the batch in {len(parts)} parts has the loss {in_parts:.4f}, as a whole {whole:.4f}",
                expected="the same number: parts are weighed by their tokens",
                fix="leave micro_batch_tokens out, and report this",
            )


def _check_learns(model: Llama, batch: Batch, device: str) -> None:
    """A copy must fit a few rows a little better after some steps."""
    pupil = copy.deepcopy(model).float().train()
    optimizer = torch.optim.AdamW(pupil.parameters(), lr=OVERFIT_RATE)
    rows = Batch(*(array[:OVERFIT_ROWS] for array in batch))
    (part,) = parts_of(rows, OVERFIT_ROWS, device)
    losses = []
    for _ in range(OVERFIT_STEPS):
        optimizer.zero_grad()
        loss = causal_nats(pupil, *part) / rows.targets_BT.size
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    if not losses[-1] < losses[0]:
        raise TrainingError(
            f"{OVERFIT_STEPS} steps on {OVERFIT_ROWS} rows took the loss from {losses[0]:.3f} to {losses[-1]:.3f}",
            expected="a fall: a model must be able to learn a few rows by heart",
            fix="check the model's configuration (width, layers, dropout)",
        )
