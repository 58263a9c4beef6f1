"""One training run, on one device or divided among processes that each have one. The order of things, each step:

    1. asked to stop? save and leave          2. batch number `position` (the loader's whole state)
    3. gradients; an incident? skip, go back or stop          4. clip, update, average; a row of the curve
    5. validate, remember the best, stop early                6. checkpoint

A checkpoint is always between two steps, after validation, so a resumed run repeats nothing and skips nothing: at equal device,
threads, compilation and number of processes it ends with the same bytes as one that was never interrupted. Fine-tuning is this
loop, too: it only starts from other weights. Of several processes the first alone checks, writes and reports (`ranks.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.models import families
from lmpipe.models.config import ModelConfig
from lmpipe.models.network import Decoder
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.training.adapters import adapt
from lmpipe.training.averaging import Average
from lmpipe.training.checkpoint import checkpoint_at, forget_after, newest_checkpoint, save_checkpoint
from lmpipe.training.config import Batching, PhaseConfig, largest_divisor, resolve_precision
from lmpipe.training.fitting import fewer_rows, is_out_of_memory, recompute_activations, whole_batch_too_large
from lmpipe.training.incidents import LIMIT, judge, perplexed, refusal
from lmpipe.training.lessons import open_lessons
from lmpipe.training.materials import Materials
from lmpipe.training.observation import activations, sizes
from lmpipe.training.optimizers import MasterOptimizer
from lmpipe.training.parameters import hidden_matrices, treatments
from lmpipe.training.process import settings_of_a_run
from lmpipe.training.random_state import random_state, set_random_state
from lmpipe.training.ranks import ALONE, Ranks
from lmpipe.training.results import write_results
from lmpipe.training.sampling import Sampling
from lmpipe.training.scaling import LossScale, check_half
from lmpipe.training.schedules import rate_fraction
from lmpipe.training.sparsity import Sparsity
from lmpipe.training.starting import starting_network
from lmpipe.training.startup import check_startup
from lmpipe.training.state import TrainingState
from lmpipe.training.step import Gradient, accumulate, added_up, make_losses, parts_of, rows_at_once
from lmpipe.training.trackers import Watch
from lmpipe.training.validation import validation_loss

CHECKPOINTS = 20
"""Checkpoints of a phase, evenly over it: what a kill costs at most is a twentieth of the work."""


@dataclass(frozen=True)
class Device:
    """Where to compute; never part of an identity."""

    kind: str = "cpu"
    threads: int = 1
    compile: bool = False
    shard: bool = False
    """Whether each of several processes holds its part of the weights, and not all of them."""


def train(
    tokens: Path,
    output: Path,
    *,
    model: ModelConfig,
    phase: PhaseConfig,
    seed: int,
    device: Device,
    scratch: Path,
    observed: Path,
    progress: Progress,
    stopping: Callable[[], bool],
    start: Path | None = None,
    materials: Materials | None = None,
    trackers: Sequence[str] = (),
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Train (or go on from the newest checkpoint in `scratch`) and write `best/`, `last/`, curve and totals.

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
        start: a model folder whose weights are the first ones; None: fresh ones.
        materials: what some objectives need beside tokens.
        trackers: where the curve is shown, too: some of `trackers.TRACKERS`.
        ranks: the processes that call this with the same arguments, each with its own number.

    Returns:
        Facts for the record; empty when asked to stop before the end, and in all processes but the first.

    Raises:
        TrainingError: when there is too little text, a start-up check fails, or numbers stop being finite.
        ModelError: when `start` holds no weights for this model.
    """
    with settings_of_a_run(device.kind, device.threads, compiled=device.compile):
        run = TrainingRun(tokens, model, phase, seed, device, progress, start, materials, ranks)
        if not run.resume(scratch):
            run.check()
            run.tell_repeats()
        if not ranks.is_first:
            if run.go_on(scratch, stopping):
                run.state.to_save()  # what this process holds of the weights, for the first
            return {}
        with run.watching(trackers, observed, scratch, seed) as watch:
            if not run.go_on(scratch, stopping):
                return {}
            facts = run.finish(output, observed)
            watch.finish(facts)
            return facts


class TrainingRun:
    """The parts of one run, put together; to be used inside `settings_of_a_run`."""

    def __init__(
        self,
        tokens: Path,
        model: ModelConfig,
        phase: PhaseConfig,
        seed: int,
        device: Device,
        progress: Progress,
        start: Path | None = None,
        materials: Materials | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        if phase.precision == "auto":
            phase = phase.model_copy(update={"precision": resolve_precision("auto", device.kind)})
        self.model, self.phase, self.device, self.progress, self.start = model, phase, device, progress, start
        self.ranks = ranks
        if phase.precision == "fp16":
            check_half(device.kind)
        self.lessons = open_lessons(tokens, model, phase, seed, progress, materials)
        self.plan, self.loader = self.lessons.plan, self.lessons.loader
        self.steps = self.plan.steps
        self.rows = ranks.share(self.plan.rows, evenly=device.shard, where=f"train.{phase.name}.batch_tokens")
        torch.manual_seed(derive_seed(seed, "weights", phase.name))
        network = starting_network(model, self.lessons.vocab_size, start, self.lessons.head, progress)
        if isinstance(network, Decoder):
            network.reads_prefix = phase.objective.reads_prefix  # whatever it was taught before
        network.to(device.kind).train()
        self.objective = self.lessons.objective_for(network)
        self.validation = self.lessons.validation_for(self.objective)
        if phase.checkpoint_activations:
            recompute_activations(network)
        added = None  # beside an adapter a head that nothing has taught yet learns, too
        if phase.adapter:
            added = [*adapt(network, families.mapping(network), phase.adapter), *network.fresh_weights]
        treated = treatments(
            network,
            weight_decay=phase.optimizer.weight_decay,
            layer_decay=phase.layer_decay,
            rules=phase.parameters,
            only=added,
        )
        shards_of = ranks if device.shard else None
        optimizer = MasterOptimizer(network, phase.optimizer, phase.precision, treated, shards_of)
        average = Average(optimizer, phase.average.decay) if phase.average else None
        sparsity = None
        if phase.sparsity:
            matrices = [name for name in hidden_matrices(network) if name in treated]
            sparsity = Sparsity(phase.sparsity, matrices, optimizer, self.steps)
        micro_rows = largest_divisor(len(self.rows), self.plan.micro_rows)
        scale = LossScale(optimizer) if phase.precision == "fp16" else None
        self.state = TrainingState(network, optimizer, average, sparsity, scale, ranks=ranks, micro_rows=micro_rows)
        torch.manual_seed(derive_seed(seed, "dropout", phase.name, *([ranks.rank] if ranks.rank else [])))
        self.sampling = _sampling(phase, materials, derive_seed(seed, "samples", phase.name))
        self.watch: Watch | None = None
        widths_vary = self.lessons.row_tokens is not None or network.widths_vary
        compiles = device.compile and not device.shard and not widths_vary  # else each width would be compiled
        self.losses = make_losses(network, self.objective, compile=compiles, progress=progress)

    def resume(self, scratch: Path) -> bool:
        """Go on from the newest sound checkpoint, of whatever number of processes; False where there is none."""
        checkpoint = newest_checkpoint(scratch, self.progress) if self.ranks.is_first else None
        step = self.ranks.told(checkpoint.state["step"] if checkpoint else -1)
        if step < 0:
            return False
        state = self.state
        state.restore(checkpoint or checkpoint_at(scratch, step))
        state.micro_rows = largest_divisor(len(self.rows), state.micro_rows)
        self.progress.note(f"going on from step {state.step:,} of {self.steps:,}")
        return True

    def watching(self, trackers: Sequence[str], observed: Path, scratch: Path, seed: int) -> Watch:
        """Show the curve as it comes: as a TensorBoard event file, and in trackers."""
        settings = {
            "run": self.phase.name,
            "seed": seed,
            "model": self.model.model_dump(mode="json"),
            "phase": self.phase.model_dump(mode="json"),
        }
        curve, progress = self.state.curve, self.progress
        self.watch = Watch(trackers, observed=observed, scratch=scratch, settings=settings, earlier=curve, progress=progress)
        return self.watch

    def check(self) -> None:
        """The start-up checks, on the first batch: by the first process, or by all where none of them has the whole model.

        A model in parts cannot be copied, so that it can learn is then not tried.
        """
        if not (self.ranks.is_first or self.device.shard):
            return
        rows, kind = self.state.micro_rows, self.device.kind
        check_startup(
            self.state.model,
            self.batch(0),
            self.objective,
            micro_rows=rows,
            device=kind,
            fresh=self.start is None,
            has_answers=self.phase.objective.has_answers and not self.device.shard,
            weights=self.state.optimizer.weights().values(),
        )

    def tell_repeats(self) -> None:
        """Say which corpora of a mixture will be seen several times: a small one with a large share is learned by heart."""
        repeats = self.lessons.epochs_by_corpus(self.steps)
        often = [f"{name} {times:.1f} times" for name, times in repeats.items() if times > 1]
        if often:
            self.progress.note(f"to be seen more than once: {', '.join(often)}")

    def go_on(self, scratch: Path, stopping: Callable[[], bool]) -> bool:
        """Train to the end; False when asked to stop before."""
        state = self.state
        validate_at = marks(self.steps, validations(self.phase, self.plan))
        save_at = marks(self.steps, CHECKPOINTS)
        sample_at = self._sample_at()
        if state.step == 0 and not state.samples:
            self._sample()
        if state.step == 0 and self._may_roll_back:
            self._save(scratch, anchor=True)
        while state.step < self.steps and not state.stop_reason:
            if self.ranks.any(stopping()):
                self._save(scratch)
                return False
            if not self._one_step(scratch, watched=state.step + 1 in validate_at):
                continue
            if state.step in validate_at:
                self._validate()
            if state.step in sample_at:
                self._sample()
            if state.step in save_at and state.step < self.steps:
                self._save(scratch, anchor=True)
        return True

    @property
    def _may_roll_back(self) -> bool:
        spikes = self.phase.on_spike
        return "roll_back" in (self.phase.on_non_finite, spikes.action if spikes else "stop")

    def _save(self, scratch: Path, *, anchor: bool = False) -> None:
        """A checkpoint; one to roll back to is kept until there is another."""
        state = self.state
        if anchor and self._may_roll_back:
            state.anchor = state.step
        checkpoint = state.to_checkpoint()
        if self.ranks.is_first:
            save_checkpoint(scratch, state.step, checkpoint, kept=state.anchor)
        self.ranks.wait()  # it may be rolled back to as soon as the next step

    def _one_step(self, scratch: Path, *, watched: bool) -> bool:
        """Take one step, or skip it; False after a roll-back."""
        state = self.state
        started = time.perf_counter()
        fraction = rate_fraction(self.phase.schedule, state.step, self.steps)
        rate = state.optimizer.peak_rate * fraction
        state.prune()
        gradient = self._gradient(self.batch(state.position))
        overflow = state.scale.judge(gradient) if state.scale else ""
        reason, action = (overflow, "skip") if overflow else judge(gradient, self.phase, state.curve)
        if reason and not overflow and (action == "stop" or state.incidents >= LIMIT):
            state.optimizer.discard()
            raise refusal(reason, state.step, rate, incidents=state.incidents)
        if reason and action == "roll_back":
            self._roll_back(scratch, reason)
            return False
        state.step += 1
        state.position += 1
        state.tokens += self.loader.tokens_per_batch
        if reason:
            state.optimizer.discard()
            self._note_incident({"step": state.step, "tokens": state.tokens, "skipped": reason})
        else:
            self._update(gradient, fraction, watched=watched)
        self._meter(gradient.loss, time.perf_counter() - started)
        return True

    def batch(self, position: int) -> Sequence[NDArray[Any]]:
        """What step number `position` learns from, unless steps were rolled back before it."""
        return self.objective.prepare(self.loader.batch(position), position)

    def _gradient(self, batch: Sequence[NDArray[Any]]) -> Gradient:
        """Of one batch: this process's rows in as many parts as its memory takes, then all processes' together."""
        state = self.state
        supervised = self.objective.supervised(batch)
        share = self.rows if self.lessons.row_tokens is None else self.ranks.share(len(batch[0]))
        mine = [array[share.start : share.stop] for array in batch]
        while True:
            before = random_state(self.device.kind)
            try:
                rows = rows_at_once(batch, state.micro_rows, self.lessons.row_tokens)
                parts = parts_of(mine, rows, self.device.kind)
                sums = accumulate(self.losses, state.optimizer, parts, supervised)
                break
            except (MemoryError, RuntimeError) as error:
                if self.device.shard or not is_out_of_memory(error):  # the others wait for this one's layers
                    raise
                failed = state.micro_rows
            state.optimizer.discard()
            if self.phase.objective.whole_batches:
                raise whole_batch_too_large(self.phase.name, self.phase.batch_tokens)
            set_random_state(before, self.device.kind)
            state.micro_rows = fewer_rows(failed, len(self.rows))
            self.progress.note(
                f"the memory was not enough for {failed} rows at once: going on with {state.micro_rows}, in "
                f"{len(self.rows) // state.micro_rows} parts; the batch stays {self.loader.tokens_per_batch:,} tokens"
            )
        return added_up(sums, state.optimizer, self.ranks)

    def _update(self, gradient: Gradient, fraction: float, *, watched: bool) -> None:
        state = self.state
        if watched and self.phase.statistics and (self.ranks.is_first or self.device.shard):
            self._observe()
        state.optimizer.update(fraction, self.phase.clip_norm)
        if state.average:
            state.average.update()
        row = {"step": state.step, "tokens": state.tokens, "loss": gradient.loss}
        rate = state.optimizer.peak_rate * fraction
        self._note({**row, **gradient.measured, "learning_rate": rate, "gradient_norm": gradient.norm})

    def _note(self, row: dict[str, Any]) -> None:
        self.state.curve.append(row)
        if self.watch:
            self.watch.note(row)

    def _observe(self) -> None:
        """Note sizes by layer: of weights and gradients before the update, of activations on held-out text."""
        state = self.state
        masters = state.optimizer.masters
        part = parts_of(self.validation[0], 1, self.device.kind)[0]
        gradients = {name: master.grad for name, master in masters.items() if master.grad is not None}
        holders = self.ranks if self.device.shard else ALONE
        row = {"step": state.step, "weights": sizes(masters, holders), "gradients": sizes(gradients, holders)}
        state.statistics.append({**row, "activations": activations(state.model, self.objective, part)})

    def _roll_back(self, scratch: Path, reason: str) -> None:
        """To the anchor's weights, and on behind the batch that was met."""
        state = self.state
        state.optimizer.discard()
        incidents, position, failed_at = state.incidents, state.position, state.step + 1
        seconds, meters, micro_rows = state.seconds, state.meters, state.micro_rows
        state.restore(checkpoint_at(scratch, state.anchor))
        if self.ranks.is_first:
            forget_after(scratch, state.anchor)
        state.incidents, state.position, state.micro_rows = incidents, position + 1, micro_rows
        state.seconds, state.meters = seconds, meters
        self._note_incident({"step": state.step, "tokens": state.tokens, "rolled_back_from": failed_at, "reason": reason})

    def _note_incident(self, row: dict[str, Any]) -> None:
        self.state.incidents += 1
        self._note(row)
        done = "skipped" if "skipped" in row else f"going back from step {row['rolled_back_from']} to"
        self.progress.note(f"{row.get('skipped') or row['reason']}: {done} step {row['step']}")

    def _meter(self, loss: float, seconds: float) -> None:
        state = self.state
        state.seconds += seconds
        speed = self.loader.tokens_per_batch / seconds
        state.meters.append({"step": state.step, "tokens": state.tokens, "seconds": state.seconds, "tokens_per_second": speed})
        total = self.steps * self.loader.tokens_per_batch
        self.progress.update(state.tokens, total, "tokens", loss=loss, tokens_per_second=speed)

    def _sample_at(self) -> set[int]:
        if self.phase.samples is None:
            return set()
        return marks(self.steps, max(1, round(self.steps * self.plan.tokens_per_step / self.phase.samples.every_tokens)))

    def _sample(self) -> None:
        """Note what the model writes; the first process's alone, and it writes what would be saved."""
        if self.sampling is None or not self.ranks.is_first:
            return
        state = self.state
        assert isinstance(state.model, Decoder), "the schema keeps samples to objectives of decoders"
        with state.weights_to_judge():
            written = self.sampling.draw(state.model)
        prompts = self.sampling.config.prompts
        state.samples.append({"step": state.step, "tokens": state.tokens, "prompts": prompts, "written": written})

    def _validate(self) -> None:
        state, stopping = self.state, self.phase.early_stopping
        with state.weights_to_judge():
            loss, accuracy, measured = validation_loss(
                state.model,
                self.losses,
                self.objective,
                self.validation,
                micro_rows=state.micro_rows,
                device=self.device.kind,
                ranks=self.ranks,
                row_tokens=self.lessons.row_tokens,
                divided=self.device.shard,
            )
        if error := perplexed(loss, state.step):
            raise error
        row: dict[str, Any] = {"step": state.step, "tokens": state.tokens, "validation_loss": loss}
        row |= {} if accuracy is None else {"validation_accuracy": accuracy}
        self._note(row | {f"validation_{name}": value for name, value in measured.items()})
        by_accuracy = self.phase.validation.best_by == "accuracy" and accuracy is not None
        state.note_validation(loss, accuracy if by_accuracy else None, stopping.min_delta if stopping else 0.0)
        dense = state.sparsity is not None and not state.sparsity.is_done_at(state.step)
        if stopping and not dense and state.without_improvement >= stopping.patience:
            state.stop_reason = f"{stopping.patience} validations without an improvement"

    def finish(self, output: Path, observed: Path) -> dict[str, Any]:
        """Write the results.

        Raises:
            TrainingError: when a final weight is not finite.
        """
        return write_results(
            self.state,
            self.state.to_save(),
            output,
            observed,
            end_of_text_id=self.lessons.end_of_text_id,
            epochs=self.loader.epoch(self.state.position),
            epochs_by_corpus=self.lessons.epochs_by_corpus(self.state.position),
            phase=self.phase,
            start=self.start,
        )


def _sampling(phase: PhaseConfig, materials: Materials | None, seed: int) -> Sampling | None:
    if phase.samples is None:
        return None
    assert materials is not None, "recipes hand in the tokenizer"
    assert materials.tokenizer is not None
    return Sampling(phase.samples, load_tokenizer(materials.tokenizer), chats=phase.objective.writes == "chat", seed=seed)


def validations(phase: PhaseConfig, plan: Batching) -> int:
    """How often a phase validates, the last step included."""
    return max(1, round(plan.steps * plan.tokens_per_step / phase.validation.every_tokens))


def marks(steps: int, times: int) -> set[int]:
    """`times` step numbers, evenly over the run; the last step is one."""
    return {math.ceil(steps * number / times) for number in range(1, times + 1)}
