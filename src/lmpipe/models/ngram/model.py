"""An n-gram model in sorted arrays: every lookup of a document is one binary search per order over all its tokens at once.

    order 1     log_probability[token]                                             vocab_size + 1 entries
    order k     keys = (entry of the first k-1 tokens in order k-1) * (vocab_size + 1) + last token, ascending
                log_probability[entry], and for all but the longest order log_backoff[entry]

A key is exact (no hashing) and fits 64 bits for any order, because a prefix is named by its entry. The id `vocab_size` stands
for the beginning of a document; it is a context and never predicted. Probabilities are interpolated when they are stored, so
scoring takes the longest n-gram found and the backoff weights of the longer contexts that exist (as ARPA files do).

Promises: probabilities over the vocabulary sum to 1 after any context, to float32 precision. Nothing is pickled. Knows no
torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import DamagedError, ModelError
from lmpipe.base.files import atomic_file, read_json, write_json

MODEL_TYPE = "ngram"
FORMAT_VERSION = 1

Floats = NDArray[np.float32]
Keys = NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """The n-grams of one order."""

    keys: Keys
    """(n-grams,) ascending; empty for order 1, where the token is the entry."""
    log_probability: Floats
    """(n-grams,) natural log of the interpolated probability of the last token after the others."""
    log_backoff: Floats
    """(n-grams,) natural log of the weight of the shorter context after this n-gram; none in the longest order."""

    def find(self, keys: Keys) -> Keys:
        """The entry of each key, -1 where there is none."""
        if len(self.keys) == 0:
            return np.full(len(keys), -1, np.int64)
        order = np.argsort(keys)  # searched in ascending order, neighbours stay in the processor's cache: a third of the time
        ordered = keys[order]
        places = np.searchsorted(self.keys, ordered)
        places[places == len(self.keys)] = 0
        entries = np.empty(len(keys), np.int64)
        entries[order] = np.where(self.keys[places] == ordered, places, -1)
        return entries


@dataclass(frozen=True)
class NgramModel:
    """Interpolated modified Kneser-Ney over token ids. Satisfies `lmpipe.models.api.Scorer`."""

    vocab_size: int
    end_of_text_id: int
    tables: Sequence[Table]
    """One for each order, from 1."""
    facts: dict[str, Any] = field(default_factory=dict)
    """About its training: tokens, documents, discounts."""

    @property
    def order(self) -> int:
        """Longest n-gram."""
        return len(self.tables)

    @property
    def context_length(self) -> int:
        """How many preceding tokens a prediction can depend on."""
        return self.order - 1

    def log_probabilities(self, ids: NDArray[np.integer]) -> NDArray[np.float64]:
        """Natural-log probability of every token given those before it in its document, shape (tokens,).

        An end-of-text id ends a document, so a whole stream of documents can be scored in one call: for many short ones much
        faster than one by one. Takes about 100 bytes of memory per token.

        Raises:
            ModelError: for an id outside the vocabulary.
        """
        _check_ids(ids, self.vocab_size)
        stream, places = stream_of(ids, self.vocab_size, self.end_of_text_id)
        found = self.tables[0].log_probability[stream].astype(np.float64)
        context = stream[:-1]  # at i: the entry of the longest n-gram of the last order that ends at i, -1 for none
        for shorter, table in zip(self.tables[:-1], self.tables[1:], strict=True):
            known = np.flatnonzero(context >= 0)
            entries = table.find(context[known] * (self.vocab_size + 1) + stream[known + 1])
            hit = entries >= 0
            found[known[hit] + 1] = table.log_probability[entries[hit]]
            found[known[~hit] + 1] += shorter.log_backoff[context[known[~hit]]]
            ending = np.full(len(stream), -1, np.int64)
            ending[known + 1] = entries
            context = ending[:-1]
        return found[places]

    def next_log_probabilities(self, ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float64]:
        """Natural-log probability of every token of the vocabulary after a beginning of a document, shape (vocab_size,).

        Raises:
            ModelError: for an id outside the vocabulary.
        """
        ids = np.asarray(ids, np.int64)
        _check_ids(ids, self.vocab_size)
        ends = np.flatnonzero(ids == self.end_of_text_id)
        history = [self.vocab_size, *ids[ends[-1] + 1 if len(ends) else 0 :].tolist()]
        found = self.tables[0].log_probability[: self.vocab_size].astype(np.float64)
        for length in range(1, min(self.order - 1, len(history)) + 1):
            context = self._entry(history[-length:])
            if context < 0:
                break  # a longer context holds this one, so it is unknown too
            found += self.tables[length - 1].log_backoff[context]
            table, base = self.tables[length], self.vocab_size + 1
            first, last = np.searchsorted(table.keys, [context * base, (context + 1) * base])
            found[table.keys[first:last] % base] = table.log_probability[first:last]
        return found

    def _entry(self, gram: list[int]) -> int:
        """Where an n-gram stands in the table of its order, -1 for nowhere."""
        entry = gram[0]
        for table, token in zip(self.tables[1:], gram[1:], strict=False):
            entry = int(table.find(np.array([entry * (self.vocab_size + 1) + token]))[0])
            if entry < 0:
                break
        return entry


def stream_of(
    ids: NDArray[np.integer], begin: int, end_of_text_id: int, starts: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`ids` with `begin` put before the first token of each document, and where each id now stands.

    A document begins with the first id, after every end-of-text, and where `starts` says so.

    >>> stream_of(np.array([5, 0, 6]), begin=9, end_of_text_id=0)
    (array([9, 5, 0, 9, 6]), array([1, 2, 4]))
    """
    opens = np.zeros(len(ids), np.bool_) if starts is None else starts.copy()
    opens[:1] = True
    opens[1:] |= ids[:-1] == end_of_text_id
    places = np.arange(len(ids)) + np.cumsum(opens)
    stream = np.full(len(ids) + int(opens.sum()), begin, np.int64)
    stream[places] = ids
    return stream, places


def save(model: NgramModel, folder: Path) -> None:
    """Write `config.json` and one `.npy` file per array into `folder`. Equal models give equal bytes."""
    for order, table in enumerate(model.tables, start=1):
        for name, array in _arrays(table).items():
            with atomic_file(folder / _file_name(order, name)) as file:
                np.save(file, array, allow_pickle=False)
    header = {
        "model_type": MODEL_TYPE,
        "format_version": FORMAT_VERSION,
        "order": model.order,
        "vocab_size": model.vocab_size,
        "end_of_text_id": model.end_of_text_id,
        "ngrams": [len(table.log_probability) for table in model.tables],
        **model.facts,
    }
    write_json(folder / "config.json", header)


def load(folder: Path) -> NgramModel:
    """Open a saved model; its arrays stay on disk, memory-mapped.

    Raises:
        ModelError: when the folder holds no n-gram model, or one of another version.
        DamagedError: when the header cannot be read, or an array is missing, cut off, or has not the header's size.
    """
    path = folder / "config.json"
    if not path.exists():
        raise ModelError("there is no n-gram model", where=str(path), expected="a folder that the ngram stage wrote")
    try:
        header = read_json(path)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if (header.get("model_type"), header.get("format_version")) != (MODEL_TYPE, FORMAT_VERSION):
        raise ModelError(
            f"the header says {header.get('model_type')} {header.get('format_version')}",
            where=str(path),
            expected=f"{MODEL_TYPE} {FORMAT_VERSION}",
            fix="train it again with this version of lmpipe",
        )
    known = ("model_type", "format_version", "order", "vocab_size", "end_of_text_id", "ngrams")
    return NgramModel(
        vocab_size=header["vocab_size"],
        end_of_text_id=header["end_of_text_id"],
        tables=[_read_table(folder, order, header["order"], size) for order, size in enumerate(header["ngrams"], start=1)],
        facts={name: value for name, value in header.items() if name not in known},
    )


def _arrays(table: Table) -> dict[str, NDArray[Any]]:
    return {"keys": table.keys, "log_probability": table.log_probability, "log_backoff": table.log_backoff}


def _file_name(order: int, name: str) -> str:
    return f"order-{order}.{name}.npy"


def _read_table(folder: Path, order: int, orders: int, size: int) -> Table:
    return Table(
        keys=_read(folder / _file_name(order, "keys"), np.int64, size if order > 1 else 0),
        log_probability=_read(folder / _file_name(order, "log_probability"), np.float32, size),
        log_backoff=_read(folder / _file_name(order, "log_backoff"), np.float32, size if order < orders else 0),
    )


def _read(path: Path, dtype: type[Any], size: int) -> NDArray[Any]:
    try:
        # An empty array cannot be mapped. A plain array over the map: indexing it costs a third of a memmap's.
        array = np.asarray(np.load(path, mmap_mode="r" if size else None, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, str(error)) from error
    if array.shape != (size,) or array.dtype != dtype:
        raise _damaged(path, f"it holds {array.dtype} of shape {array.shape}; the header says {size:,} of {np.dtype(dtype)}")
    return array


def _damaged(path: Path, what: str) -> DamagedError:
    return DamagedError(
        f"a file of the n-gram model cannot be used: {what}",
        where=str(path),
        expected="the file that the ngram stage wrote",
        fix="remove that stage's folder from the store; the same command then computes it again",
    )


def _check_ids(ids: NDArray[np.integer], vocab_size: int) -> None:
    if len(ids) and not (ids.min() >= 0 and ids.max() < vocab_size):
        raise ModelError(
            f"ids from {ids.min()} to {ids.max()} were given to an n-gram model",
            expected=f"ids in [0, {vocab_size})",
            fix="use the tokenizer that this model was trained with",
        )
