"""Several corpora as one: the `mix` stage, and batches from a mixture in constant time.

    tokenize-books/ tokenize-web/  -->  train/ validation/ test/   the shards of all, one corpus after another
                                        train/shards.json          `corpora`: name, tokens, share of each
                                        mixture.json               {shares, tokens}

Rows of batches are dealt in blocks of 4,096: each corpus has its share of every block, exactly to one row, at places that a
keyed permutation scatters. A row's place in its block says its corpus and the number of its window there, so that any batch is
found without those before it, and the state is a position. A corpus that is small for its share is gone through again, each
time in another order, as often as it takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmpipe.base.errors import ModelError
from lmpipe.base.files import read_json, storing, write_json
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed
from lmpipe.tokens.config import MixtureConfig
from lmpipe.tokens.loader import Batch, Ids, Loader, batch_of, order_keys, permuted
from lmpipe.tokens.shards import TokenRange, TokenShards, copy_shard, open_shards

SPLITS = ("train", "validation", "test")
FACTS = "mixture.json"
BLOCK = 4096
"""Rows dealt at once: shares are exact to a 4,096th, and a corpus with less still has one row of each block."""


def mix(tokens: Mapping[str, Path], output: Path, *, config: MixtureConfig, progress: Progress) -> dict[str, Any]:
    """Put the shards of several corpora into one folder; return what `mixture.json` says.

    Args:
        tokens: name to folder of a tokenize stage, all with the same tokenizer.
        output: an existing, empty folder.
        config: the shares.
        progress: told shards copied.

    Raises:
        ModelError: when their vocabularies differ.
    """
    sizes = {name: open_shards(tokens[name] / "train").tokens for name in config.corpora()}
    shares = config.shares(sizes)
    for number, split in enumerate(SPLITS):
        folders = {name: tokens[name] / split for name in config.corpora()}
        _join(folders, output / split, shares if split == "train" else None)
        progress.update(number + 1, len(SPLITS), "splits")
    facts = {"shares": shares, "tokens": sizes}
    write_json(output / FACTS, facts)
    return facts


def _join(folders: Mapping[str, Path], output: Path, shares: Mapping[str, float] | None) -> None:
    headers = {name: read_json(folder / "shards.json") for name, folder in folders.items()}
    first = next(iter(headers.values()))
    if any((h["vocab_size"], h["end_of_text_id"]) != (first["vocab_size"], first["end_of_text_id"]) for h in headers.values()):
        raise ModelError("the corpora of a mixture were tokenized by different tokenizers", where=", ".join(folders))
    shards: list[dict[str, Any]] = []
    with storing(output):
        output.mkdir(parents=True)
        for name, header in headers.items():
            shards += [copy_shard(folders[name], entry, output, len(shards) + n) for n, entry in enumerate(header["shards"])]
    corpora = [
        {"name": name, "tokens": header["tokens"], "share": shares[name], "runs": header.get("runs", 1)}
        for name, header in headers.items()
        if shares
    ]
    totals = {unit: sum(header[unit] for header in headers.values()) for unit in ("documents", "tokens", "bytes")}
    kept = {
        key: first[key] for key in ("format", "version", "dtype", "vocab_size", "end_of_text_id", "controls") if key in first
    }
    write_json(output / "shards.json", {**kept, **totals, **({"corpora": corpora} if corpora else {}), "shards": shards})


def training_loader(shards: TokenShards, *, context_length: int, batch_size: int, seed: int) -> Loader | MixtureLoader:
    """The loader that the shards call for: of one stream, or of a mixture."""
    kind = MixtureLoader if shards.corpora else Loader
    return kind(shards, context_length=context_length, batch_size=batch_size, seed=seed)


def epochs_by_corpus(loader: object, position: int) -> dict[str, float]:
    """How often each corpus of a mixture was seen before batch `position`; nothing where there is no mixture."""
    return loader.epochs_by_corpus(position) if isinstance(loader, MixtureLoader) else {}


class MixtureLoader:
    """As `Loader`, over several corpora at fixed shares."""

    def __init__(self, shards: TokenShards, *, context_length: int, batch_size: int, seed: int) -> None:
        """Store the arguments and find the stretch of each corpus.

        Raises:
            TrainingError: when a corpus holds not one window.
        """
        self.shards, self.context_length, self.batch_size, self.seed = shards, context_length, batch_size, seed
        self.names = [corpus.name for corpus in shards.corpora]
        self.counts: Ids = np.array(rows_of_block([corpus.share for corpus in shards.corpora]), np.int64)
        """Rows of each corpus in a block."""
        self._ends = np.cumsum(self.counts)
        self._known: dict[int, tuple[Ids, Ids]] = {}
        self._firsts = np.cumsum([0, *(corpus.tokens for corpus in shards.corpora)])
        self._loaders = [
            Loader(
                TokenRange(shards, int(first), int(first) + corpus.tokens, corpus.runs),
                context_length=context_length,
                batch_size=1,
                seed=derive_seed(seed, "corpus", corpus.name),
            )
            for first, corpus in zip(self._firsts, shards.corpora, strict=False)
        ]
        self.windows_per_epoch = sum(loader.windows_per_epoch for loader in self._loaders)

    @property
    def tokens_per_batch(self) -> int:
        """Targets in one batch."""
        return self.batch_size * self.context_length

    @property
    def batches_per_epoch(self) -> float:
        """Batches with as many windows as all corpora together have."""
        return self.windows_per_epoch / self.batch_size

    def epoch(self, position: int) -> float:
        """Windows seen before batch `position`, by those of all corpora together."""
        return position * self.batch_size / self.windows_per_epoch

    def epochs_by_corpus(self, position: int) -> dict[str, float]:
        """How often the windows of each corpus were seen before batch `position`."""
        corpus, _ = self.dealt(np.arange(position * self.batch_size % BLOCK))
        blocks = position * self.batch_size // BLOCK
        seen = blocks * self.counts + np.bincount(corpus, minlength=len(self.names))
        windows = [loader.windows_per_epoch for loader in self._loaders]
        return {name: float(rows / size) for name, rows, size in zip(self.names, seen, windows, strict=True)}

    def batch(self, position: int) -> Batch:
        """Batch number `position` (from 0), each array of shape (batch_size, context_length)."""
        return batch_of(self.shards, self.window_starts(position), self.context_length)

    def window_starts(self, position: int) -> list[int]:
        """First token of each row of batch `position`, counted through all corpora."""
        first = position * self.batch_size
        corpus, windows = self.dealt(np.arange(first, first + self.batch_size))
        starts = np.empty_like(windows)
        for number in np.unique(corpus).tolist():
            here = corpus == number
            starts[here] = self._firsts[number] + self._loaders[number].starts_of(windows[here])
        return starts.tolist()  # type: ignore[no-any-return]

    def dealt(self, rows: Ids) -> tuple[Ids, Ids]:
        """For rows numbered through all batches: (number of the corpus, number of the row among all of that corpus)."""
        blocks, within = np.divmod(rows, BLOCK)
        corpus, number = np.empty_like(rows), np.empty_like(rows)
        for block in np.unique(blocks).tolist():
            here = blocks == block
            corpora, ranks = self._block(block)
            corpus[here] = corpora[within[here]]
            number[here] = ranks[within[here]] + block * self.counts[corpora[within[here]]]
        return corpus, number

    def _block(self, block: int) -> tuple[Ids, Ids]:
        """For every row of a block, its corpus and how many rows of that corpus stand before it in the block."""
        if block not in self._known:
            dealt = permuted(np.arange(BLOCK), BLOCK, order_keys(self.seed, "mixture", block))
            corpora = np.searchsorted(self._ends, dealt, side="right")
            order = np.argsort(corpora, kind="stable")
            ranks = np.empty(BLOCK, np.int64)
            ranks[order] = np.arange(BLOCK) - (self._ends - self.counts)[corpora[order]]
            self._known = {block: (corpora, ranks), **dict(list(self._known.items())[:1])}
        return self._known[block]


def rows_of_block(shares: Sequence[float]) -> list[int]:
    """How many of the 4,096 rows of a block each corpus has: its share, rounded so that all are dealt, one at least.

    >>> rows_of_block([0.75, 0.25])
    [3072, 1024]
    """
    exact = [share * BLOCK for share in shares]
    counts = [max(1, int(rows)) for rows in exact]
    while sum(counts) != BLOCK:
        step = 1 if sum(counts) < BLOCK else -1
        open_to_change = [n for n, count in enumerate(counts) if step == 1 or count > 1]
        furthest = max(open_to_change, key=lambda n: step * (exact[n] - counts[n]))
        counts[furthest] += step
    return counts
