"""Estimates a hidden Markov model by expectation-maximisation, many texts side by side.

Each pass adds up, over all texts, how often each state is expected at the beginning, before each state, and with each token
(Baum-Welch, scaled; Rabiner 1989, section III.C); the next model is those counts and `pseudo_count`, divided by their sums.
Without pseudo-counts no pass lowers the likelihood. Memory: texts x window x states numbers for one batch, whatever the corpus.

Deterministic: equal documents, config and seed give equal bytes, also when a killed estimation goes on after its last whole
pass. N texts, T positions, K states, V vocabulary.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import LmpipeError, TrainingError
from lmpipe.base.progress import Progress
from lmpipe.models.hmm.config import HmmConfig
from lmpipe.models.hmm.model import NEVER, Floats, HmmModel, load, save

Integers = NDArray[np.int64]
NUMBERS_AT_ONCE = 1 << 22
"""Forward probabilities kept for one batch: 32 MB."""


@dataclass
class Counts:
    """Expected counts over some texts, and the log-probability of them all."""

    initial_K: Floats
    transition_KK: Floats
    emission_KV: Floats
    log_probability: float = 0.0


def train(
    documents: Iterable[NDArray[np.integer]],
    config: HmmConfig,
    *,
    vocab_size: int,
    seed: int,
    progress: Progress,
    scratch: Path | None = None,
) -> HmmModel:
    """Estimate a model from the ids of documents, each closed by end-of-text.

    Args:
        documents: ids.
        config: what to estimate.
        vocab_size: ids lie in [0, vocab_size).
        seed: of the first model.
        progress: told after each pass.
        scratch: where the model is kept after each pass, and found again.

    Raises:
        TrainingError: when there are no tokens.
    """
    pieces = _pieces(documents, config, progress)
    tokens = sum(map(len, pieces))
    if tokens == 0:
        raise TrainingError("there are no tokens to learn states from", expected="at least one document")
    batches = list(_batches(pieces, config.states))
    model = _kept(scratch, progress) or _first(np.concatenate(pieces), config.states, vocab_size, seed)
    curve: list[float] = [*model.facts.get("log_probability_per_token", ())]
    while len(curve) < config.iterations and not _converged(curve, config.tolerance):
        counts = expect(model, batches)
        curve.append(counts.log_probability / tokens)
        facts = {"training_tokens": tokens, "log_probability_per_token": [*curve]}
        model = replace(maximise(counts, config.pseudo_count), facts=facts)
        progress.update(len(curve), config.iterations, "passes", nats=-curve[-1])
        if scratch is not None:
            _keep(model, scratch, len(curve))
    return model


def _converged(curve: Sequence[float], tolerance: float) -> bool:
    return len(curve) > 1 and curve[-1] - curve[-2] < tolerance * abs(curve[-1])


def _keep(model: HmmModel, scratch: Path, passes: int) -> None:
    """Written whole under another name first; then those before it go."""
    earlier, unfinished = list(scratch.glob("pass-*")), scratch / "unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    save(model, unfinished)
    unfinished.rename(scratch / f"pass-{passes:05}")
    for folder in earlier:
        shutil.rmtree(folder)


def _kept(scratch: Path | None, progress: Progress) -> HmmModel | None:
    """The model after the last pass that was kept, where there is one."""
    for folder in sorted(scratch.glob("pass-*"), reverse=True) if scratch else ():
        try:
            return load(folder)
        except LmpipeError as error:
            progress.note(f"hmm: {folder.name} is passed over: {error}")
    return None


def _pieces(documents: Iterable[NDArray[np.integer]], config: HmmConfig, progress: Progress) -> list[Integers]:
    """Documents in pieces of `window` tokens; beyond `max_tokens` every 2nd, 4th, ... document only."""
    kept: list[tuple[int, Integers]] = []
    tokens, step = 0, 1
    for number, document in enumerate(documents):
        if number % step:
            continue
        kept.append((number, np.array(document[: config.max_tokens], np.int64)))
        tokens += len(kept[-1][1])
        while tokens > config.max_tokens and len(kept) > 1:
            step *= 2
            kept = [(n, ids) for n, ids in kept if n % step == 0]
            tokens = sum(len(ids) for _, ids in kept)
    if step > 1:
        progress.note(f"hmm: every {step}th document is used, {tokens:,} tokens, to stay below {config.max_tokens:,}")
    return [
        ids[start : start + config.window] for _, ids in kept for start in range(0, len(ids), config.window) if len(ids) > start
    ]


def _batches(pieces: Sequence[Integers], states: int) -> Iterator[tuple[Integers, Integers]]:
    """Pieces of like length side by side: ids (N, T), padded with 0 on the right, and lengths (N,), longest first."""
    ordered = sorted(pieces, key=len, reverse=True)
    start = 0
    while start < len(ordered):
        longest = len(ordered[start])
        batch = ordered[start : start + max(1, NUMBERS_AT_ONCE // (longest * states))]
        ids_NT = np.zeros((len(batch), longest), np.int64)
        for row, piece in enumerate(batch):
            ids_NT[row, : len(piece)] = piece
        yield ids_NT, np.array([len(piece) for piece in batch])
        start += len(batch)


def _first(ids: Integers, states: int, vocab_size: int, seed: int) -> HmmModel:
    """Random changes of state; tokens as often as in the text, a little different in each state, so that states can part."""
    generator = np.random.default_rng(seed)
    unigram_V = np.bincount(ids, minlength=vocab_size) + 1.0
    emission_KV = unigram_V * generator.uniform(0.5, 1.5, (states, vocab_size))
    initial_K, transition_KK = generator.uniform(0.5, 1.5, states), generator.uniform(0.5, 1.5, (states, states))
    return maximise(Counts(initial_K, transition_KK, emission_KV), 0.0)


def maximise(counts: Counts, pseudo_count: float) -> HmmModel:
    """The model that makes these counts most likely; a state never visited becomes uniform."""

    def normal(counted: Floats) -> Floats:
        total = (counted + pseudo_count).sum(axis=-1, keepdims=True)
        uniform = np.full_like(counted, 1 / counted.shape[-1])
        return np.where(total > 0, (counted + pseudo_count) / np.where(total > 0, total, 1), uniform)

    return HmmModel(normal(counts.initial_K), normal(counts.transition_KK), normal(counts.emission_KV))


def expect(model: HmmModel, batches: Iterable[tuple[Integers, Integers]]) -> Counts:
    """Expected counts of every batch, added up."""
    states, vocab_size = model.emission_KV.shape
    total = Counts(np.zeros(states), np.zeros((states, states)), np.zeros((states, vocab_size)))
    for ids_NT, lengths_N in batches:
        _add_batch(model, ids_NT, lengths_N, total)
    return total


def _add_batch(model: HmmModel, ids_NT: Integers, lengths_N: Integers, total: Counts) -> None:
    """Forward over the positions, then backward, adding as it goes; a row takes part up to its length."""
    rows, positions = ids_NT.shape
    emitted_VK = np.ascontiguousarray(model.emission_KV.T)
    alive = np.searchsorted(-lengths_N, -np.arange(1, positions + 1), side="right")  # rows with position t: the first so many
    forward_TNK = np.zeros((positions, rows, model.states))
    scale_TN = np.ones((positions, rows))
    expected_NK = np.broadcast_to(model.initial_K, (rows, model.states))
    for t in range(positions):
        n = alive[t]
        joint_NK = expected_NK[:n] * emitted_VK[ids_NT[:n, t]]
        scale_TN[t, :n] = np.maximum(joint_NK.sum(axis=1), NEVER)
        forward_TNK[t, :n] = joint_NK / scale_TN[t, :n, None]
        expected_NK = forward_TNK[t, :n] @ model.transition_KK
    total.log_probability += float(np.log(scale_TN).sum())
    backward_NK = np.ones((rows, model.states))
    for t in range(positions - 1, -1, -1):
        n = alive[t]
        if t + 1 < positions and alive[t + 1]:
            m = alive[t + 1]
            after_NK = emitted_VK[ids_NT[:m, t + 1]] * backward_NK[:m] / scale_TN[t + 1, :m, None]
            total.transition_KK += model.transition_KK * (forward_TNK[t, :m].T @ after_NK)
            backward_NK[:m] = after_NK @ model.transition_KK.T
        forward_TNK[t, :n] *= backward_NK[:n]  # now how likely each state was at t, given the whole text
    total.initial_K += forward_TNK[0].sum(axis=0)
    here = np.arange(positions)[:, None] < lengths_N[None, :]
    ids, occupied = ids_NT.T[here], forward_TNK[here]
    for state in range(model.states):
        total.emission_KV[state] += np.bincount(ids, occupied[:, state], total.emission_KV.shape[1])
