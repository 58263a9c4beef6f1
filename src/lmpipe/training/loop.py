"""One training run on one device. The order of things, each step:

    1. asked to stop? save and leave          2. batch number `step` (the loader's whole state)
    3. gradients, clip, update                 4. a row of the curve
    5. validate, remember the best, stop early 6. checkpoint

A checkpoint is always between two steps, after validation, so a resumed run repeats nothing and skips nothing: at equal device,
threads and compilation it ends with the same bytes as one that was never interrupted.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmpipe.base.errors import TrainingError
from lmpipe.base.files import atomic_file, write_json
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.models.llama import hf
from lmpipe.models.llama.config import LlamaConfig
from lmpipe.models.llama.model import Llama
from lmpipe.tokens.loader import Batch, Loader
from lmpipe.tokens.mixture import MixtureLoader, training_loader
from lmpipe.tokens.shards import open_shards
from lmpipe.training.checkpoint import newest_checkpoint, save_checkpoint
from lmpipe.training.config import Batching, PhaseConfig, batching, resolve_precision
from lmpipe.training.objectives import causal_nats
from lmpipe.training.optimizers import MasterOptimizer, all_finite
from lmpipe.training.parameters import treatments
from lmpipe.training.process import settings_of_a_run
from lmpipe.training.schedules import rate_fraction
from lmpipe.training.startup import check_startup
from lmpipe.training.state import TrainingState
from lmpipe.training.step import Nats, make_nats, optimizer_step, parts_of

CHECKPOINTS = 20
"""Checkpoints of a phase, evenly over it: what a kill costs at most is a twentieth of the work."""


@dataclass(frozen=True)
class Device:
    """Where to compute; never part of an identity."""

    kind: str = "cpu"
    threads: int = 1
    compile: bool = False


def train(
    tokens: Path,
    output: Path,
    *,
    model: LlamaConfig,
    phase: PhaseConfig,
    seed: int,
    device: Device,
    scratch: Path,
    observed: Path,
    progress: Progress,
    stopping: Callable[[], bool],
) -> dict[str, Any]:
    """Train from scratch (or from the newest checkpoint in `scratch`) and write `best/`, `last/`, curve and totals.

    Args:
        tokens: a tokenize stage's folder, with `train/` and `validation/` shards.
        output: an existing folder.
        model: the architecture.
        phase: what is learned and how; its precision already resolved.
        seed: the recipe's.
        device: where.
        scratch: keeps checkpoints; given again to the same run after a kill.
        observed: where figures that depend on the clock go.
        progress: told after each step.
        stopping: whether to save and leave.

    Returns:
        Facts for the record; empty when asked to stop before the end.

    Raises:
        TrainingError: when there is too little text, a start-up check fails, or numbers stop being finite.
    """
    with settings_of_a_run(device.kind, device.threads):
        run = TrainingRun(tokens, model, phase, seed, device, progress)
        checkpoint = newest_checkpoint(scratch, progress)
        if checkpoint:
            run.state.restore(checkpoint)
            progress.note(f"going on from step {run.state.step:,} of {run.steps:,}")
        else:
            run.check()
            run.tell_repeats()
        if not run.go_on(scratch, stopping):
            return {}
        return run.finish(output, observed)


class TrainingRun:
    """The parts of one run, put together; to be used inside `settings_of_a_run`."""

    def __init__(
        self, tokens: Path, model: LlamaConfig, phase: PhaseConfig, seed: int, device: Device, progress: Progress
    ) -> None:
        if phase.precision == "auto":
            phase = phase.model_copy(update={"precision": resolve_precision("auto", device.kind)})
        self.phase, self.device, self.progress = phase, device, progress
        self.shards = open_shards(tokens / "train")
        self.plan = batching(phase, model.context)
        self.steps, self.micro_rows = self.plan.steps, self.plan.micro_rows
        loader_seed = derive_seed(seed, "loader", phase.name)
        self.loader = training_loader(self.shards, context_length=model.context, batch_size=self.plan.rows, seed=loader_seed)
        self.validation = _validation_batches(tokens / "validation", model.context, self.micro_rows, phase.validation.tokens)
        torch.manual_seed(derive_seed(seed, "weights", phase.name))
        network = Llama(model, self.shards.vocab_size).to(device.kind).train()
        treated = treatments(
            network, weight_decay=phase.optimizer.weight_decay, layer_decay=phase.layer_decay, rules=phase.parameters
        )
        self.state = TrainingState(network, MasterOptimizer(network, phase.optimizer, phase.precision, treated))
        torch.manual_seed(derive_seed(seed, "dropout", phase.name))
        self.nats = make_nats(network, compile=device.compile, progress=progress)

    def check(self) -> None:
        """The start-up checks, on the first batch."""
        check_startup(self.state.model, self.loader.batch(0), micro_rows=self.micro_rows, device=self.device.kind)

    def tell_repeats(self) -> None:
        """Say which corpora of a mixture will be seen several times: a small one with a large share is learned by heart."""
        repeats = _epochs_by_corpus(self.loader, self.steps).get("epochs_by_corpus", {})
        often = [f"{name} {times:.1f} times" for name, times in repeats.items() if times > 1]
        if often:
            self.progress.note(f"to be seen more than once: {', '.join(often)}")

    def go_on(self, scratch: Path, stopping: Callable[[], bool]) -> bool:
        """Train to the end; False when asked to stop before."""
        state = self.state
        validate_at = marks(self.steps, validations(self.phase, self.plan))
        save_at = marks(self.steps, CHECKPOINTS)
        while state.step < self.steps and not state.stop_reason:
            if stopping():
                save_checkpoint(scratch, state.step, state.to_checkpoint())
                return False
            self._one_step()
            if state.step in validate_at:
                self._validate()
            if state.step in save_at and state.step < self.steps:
                save_checkpoint(scratch, state.step, state.to_checkpoint())
        return True

    def _one_step(self) -> None:
        state = self.state
        started = time.perf_counter()
        fraction = rate_fraction(self.phase.schedule, state.step, self.steps)
        parts = parts_of(self.loader.batch(state.step), self.micro_rows, self.device.kind)
        result = optimizer_step(
            self.nats, state.optimizer, parts, rate_fraction=fraction, clip_norm=self.phase.clip_norm, step=state.step
        )
        state.step += 1
        state.tokens += self.loader.tokens_per_batch
        rate = state.optimizer.peak_rate * fraction
        row = {"step": state.step, "tokens": state.tokens, "loss": result.loss, "learning_rate": rate}
        state.curve.append({**row, "gradient_norm": result.gradient_norm})
        seconds = time.perf_counter() - started
        state.seconds += seconds
        speed = self.loader.tokens_per_batch / seconds
        state.meters.append({"step": state.step, "tokens": state.tokens, "seconds": state.seconds, "tokens_per_second": speed})
        total = self.steps * self.loader.tokens_per_batch
        self.progress.update(state.tokens, total, "tokens", loss=result.loss, tokens_per_second=speed)

    def _validate(self) -> None:
        state, stopping = self.state, self.phase.early_stopping
        loss = validation_loss(state.model, self.nats, self.validation, self.device.kind)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the validation loss is {loss} after step {state.step}", fix="lower optimizer.lr or set clip_norm"
            )
        state.curve.append({"step": state.step, "tokens": state.tokens, "validation_loss": loss})
        state.note_validation(loss, stopping.min_delta if stopping else 0.0)
        if stopping and state.without_improvement >= stopping.patience:
            state.stop_reason = f"{stopping.patience} validations without an improvement"

    def finish(self, output: Path, observed: Path) -> dict[str, Any]:
        """Write the results.

        Raises:
            TrainingError: when a final weight is not finite.
        """
        state = self.state
        if not all_finite(state.optimizer.weights().values()):
            raise TrainingError("a trained weight is not a finite number", fix="lower optimizer.lr or set clip_norm")
        end_of_text_id = self.shards.end_of_text_id
        for name, weights in (("last", state.optimizer.weights()), ("best", state.best_weights)):
            hf.save(state.model, output / name, end_of_text_id=end_of_text_id, state=weights)
        totals = {
            "steps": state.step,
            "tokens": state.tokens,
            "epochs": self.loader.epoch(state.step),
            **_epochs_by_corpus(self.loader, state.step),
            "parameters": sum(parameter.numel() for parameter in state.model.parameters()),
            "precision": self.phase.precision,
            "best_step": state.best_step,
            "best_tokens": state.best_tokens,
            "best_validation_loss": state.best_loss,
            "stopped_early": bool(state.stop_reason),
            "stop_reason": state.stop_reason or "the budget of tokens is spent",
        }
        write_json(output / "training.json", totals)
        _write_lines(output / "curve.jsonl", state.curve)
        _write_lines(observed / "meters.jsonl", state.meters)
        return {**totals, "step_seconds": state.seconds, "tokens_per_second": state.tokens / max(state.seconds, 1e-9)}


def _epochs_by_corpus(loader: Loader | MixtureLoader, step: int) -> dict[str, dict[str, float]]:
    """How often each corpus of a mixture was seen."""
    return {"epochs_by_corpus": loader.epochs_by_corpus(step)} if isinstance(loader, MixtureLoader) else {}


def validation_loss(model: Llama, nats: Nats, batches: list[Batch], device: str) -> float:
    """Nats per token over the batches, dropout off.

    Without dropout training and predicting compute the same, so the compiled step is used as it is, gradients on: turned off,
    torch compiles it a second time (22 processor seconds at the quickstart's shape, half of what the step itself took).
    """
    total, count = 0.0, 0
    for batch in batches:
        (part,) = parts_of(batch, len(batch.inputs_BT), device)
        total += _without_dropout(model, part) if model.config.dropout else float(nats(*part).detach())
        count += batch.targets_BT.size
    return total / count


@torch.no_grad()
def _without_dropout(model: Llama, part: tuple[Tensor, Tensor, Tensor]) -> float:
    was_training = model.training
    loss = float(causal_nats(model.eval(), *part))
    model.train(was_training)
    return loss


def _validation_batches(folder: Path, context_length: int, rows: int, budget: int) -> list[Batch]:
    """The same windows each time: the first batches of a fixed order, of the training step's shape."""
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
    return [loader.batch(number) for number in range(min(wanted, max(1, int(loader.batches_per_epoch))))]


def validations(phase: PhaseConfig, plan: Batching) -> int:
    """How often a phase validates, the last step included."""
    return max(1, round(plan.steps * plan.tokens_per_step / phase.validation.every_tokens))


def marks(steps: int, times: int) -> set[int]:
    """`times` step numbers, evenly over the run; the last step is one."""
    return {math.ceil(steps * number / times) for number in range(1, times + 1)}


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    with atomic_file(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
