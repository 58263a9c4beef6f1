"""A hidden Markov model over token ids: which state comes next hangs on the state, which token is seen hangs on the state.

    state(1) ~ initial    state(t) ~ transition[state(t-1)]    token(t) ~ emission[state(t)]

N texts, T positions, K states, V vocabulary. Scaled as in Rabiner 1989, section V.A: after each position the probabilities of
the states are divided by their sum, whose logarithm is the token's. Everything is numpy in float64; nothing is pickled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lmpipe.base.errors import DamagedError, ModelError
from lmpipe.base.files import read_json, share, storing, sync_folder, write_json

MODEL_TYPE, FORMAT_VERSION = "hmm", 1
Floats = NDArray[np.float64]
NEVER = 1e-300
"""In place of a probability of zero, so that a logarithm stays finite."""


@dataclass(frozen=True)
class HmmModel:
    """A hidden Markov language model. Satisfies `lmpipe.models.api.Scorer`."""

    initial_K: Floats
    transition_KK: Floats
    """Rows sum to 1: from, to."""
    emission_KV: Floats
    """Rows sum to 1."""
    facts: dict[str, Any] = field(default_factory=dict)
    """About its training."""

    @property
    def states(self) -> int:
        """Hidden states."""
        return len(self.initial_K)

    @property
    def vocab_size(self) -> int:
        """Ids lie in [0, vocab_size)."""
        return int(self.emission_KV.shape[1])

    @property
    def context_length(self) -> int:
        """The state carries on, so a prediction can depend on everything before it."""
        return 1 << 30

    def log_probabilities(self, ids: NDArray[np.integer]) -> Floats:
        """Natural-log probability of every token given those before it in its document, shape (tokens,).

        Raises:
            ModelError: for an id outside the vocabulary.
        """
        self._check_ids(ids)
        found = np.empty(len(ids))
        expected_K = self.initial_K
        for position, token in enumerate(np.asarray(ids)):
            joint_K = expected_K * self.emission_KV[:, token]
            total = max(float(joint_K.sum()), NEVER)
            found[position] = np.log(total)
            expected_K = (joint_K / total) @ self.transition_KK
        return found

    def most_likely_states(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        """The most likely path through the states (Viterbi 1967), shape (tokens,).

        Raises:
            ModelError: for an id outside the vocabulary.
        """
        self._check_ids(ids)
        if len(ids) == 0:
            return np.empty(0, np.int64)
        with np.errstate(divide="ignore"):
            log_initial_K, log_transition_KK, log_emission_KV = map(
                np.log, (self.initial_K, self.transition_KK, self.emission_KV)
            )
        best_K = log_initial_K + log_emission_KV[:, ids[0]]
        back_TK = np.zeros((len(ids), self.states), np.int64)
        for position in range(1, len(ids)):
            through_KK = best_K[:, None] + log_transition_KK
            back_TK[position] = through_KK.argmax(axis=0)
            best_K = through_KK.max(axis=0) + log_emission_KV[:, ids[position]]
        path = np.empty(len(ids), np.int64)
        path[-1] = best_K.argmax()
        for position in range(len(ids) - 1, 0, -1):
            path[position - 1] = back_TK[position, path[position]]
        return path

    def _check_ids(self, ids: NDArray[np.integer]) -> None:
        if len(ids) and not (ids.min() >= 0 and ids.max() < self.vocab_size):
            raise ModelError(
                f"ids from {ids.min()} to {ids.max()} were given to a hidden Markov model",
                expected=f"ids in [0, {self.vocab_size})",
                fix="use the tokenizer that this model was trained with",
            )


def save(model: HmmModel, folder: Path) -> None:
    """Write `config.json` and `model.safetensors`. Equal models give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"initial": model.initial_K, "transition": model.transition_KK, "emission": model.emission_KV}
    write_json(
        folder / "config.json",
        {
            "model_type": MODEL_TYPE,
            "format_version": FORMAT_VERSION,
            "states": model.states,
            "vocab_size": model.vocab_size,
            **model.facts,
        },
    )
    with storing(folder / "model.safetensors"):
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "model.safetensors")
        share(folder / "model.safetensors")
    sync_folder(folder)


def load(folder: Path) -> HmmModel:
    """Read a saved model.

    Raises:
        ModelError: when the folder holds none, or one of another version.
        DamagedError: when its files are cut off or do not fit each other.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError("there is no hidden Markov model", where=str(path), expected="config.json and model.safetensors")
    try:
        header = read_json(path)
        arrays = load_file(folder / "model.safetensors")
    except (ValueError, OSError, SafetensorError) as error:
        raise _damaged(folder, str(error)) from None
    if (header.get("model_type"), header.get("format_version")) != (MODEL_TYPE, FORMAT_VERSION):
        raise ModelError(
            f"the header says {header.get('model_type')} {header.get('format_version')}",
            where=str(path),
            expected=f"{MODEL_TYPE} {FORMAT_VERSION}",
        )
    states, vocab_size = header["states"], header["vocab_size"]
    shapes = {"initial": (states,), "transition": (states, states), "emission": (states, vocab_size)}
    if {name: array.shape for name, array in arrays.items()} != shapes:
        raise _damaged(folder, "the arrays have other shapes than config.json says")
    known = ("model_type", "format_version", "states", "vocab_size")
    facts = {name: value for name, value in header.items() if name not in known}
    return HmmModel(arrays["initial"], arrays["transition"], arrays["emission"], facts)


def _damaged(folder: Path, what: str) -> DamagedError:
    return DamagedError(
        f"the hidden Markov model cannot be used: {what}",
        where=str(folder),
        expected="the files that were written together",
        fix="train it again",
    )
