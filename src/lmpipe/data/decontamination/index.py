"""The index of evaluation text: which runs of words belong to which items.

    items (id, text) --> items.json       set and id of each item, how many words; those too short to look for
                    `--> *.npy            hashes of their runs of `ngram` words and of `seed` words, sorted, with item and place

Its size follows the evaluation text (about 40 bytes a word), never the training text. Holds hashes and ids, no text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmpipe.base.files import read_json, write_json
from lmpipe.data.decontamination.config import DecontaminateConfig
from lmpipe.data.dedup.shingles import Hashes, Integers, Words, shingles_of, slices_of, words_of
from lmpipe.data.documents import read_tables

LONGEST_ALIGNED = 256
"""Words. Of a longer item with every tenth word changed, a run of 13 words is left all but surely: 0.1 x 0.9^13 x 256 = 6.5 are
expected."""
FILTER_BITS = 24
ITEMS = "items.json"


@dataclass(frozen=True)
class Runs:
    """Runs of words of one length. R counts runs, sorted by hash."""

    hash_R: Hashes
    item_R: Integers
    place_R: Integers
    """Number of the run's first word within its item."""
    maybe: npt.NDArray[np.bool_]
    """Whether any run has these first bits: 24 bits tell all but a few apart, and a look-up costs a tenth of a search."""

    def find(self, hashes: Hashes) -> tuple[Integers, Integers]:
        """Which of `hashes` are runs of items: (their positions, the entry of the index), one pair for each entry."""
        likely = np.flatnonzero(self.maybe[hashes >> np.uint64(64 - FILTER_BITS)])
        first = np.searchsorted(self.hash_R, hashes[likely], side="left")
        last = np.searchsorted(self.hash_R, hashes[likely], side="right")
        counts = last - first
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(likely, counts), np.repeat(first, counts) + offsets


@dataclass(frozen=True, eq=False)
class Index:
    """Everything that is looked for. I counts items."""

    names: list[tuple[str, str]]
    """(set, id) of each item."""
    words_I: Integers
    hash_W: Hashes
    """Words of all items that are aligned, one item after the other."""
    first_I: Integers
    """I + 1 entries: where an item's words begin; longer items have none."""
    long: Runs
    seeds: Runs
    runs_I: Integers
    """How many different runs of `ngram` words an item has."""

    @lru_cache(4096)  # noqa: B019 - an index lives as long as its process
    def masks(self, item: int) -> dict[int, int]:
        """For each word of an item, a number whose bits are the places where it stands."""
        masks: dict[int, int] = {}
        for place, word in enumerate(self.hash_W[self.first_I[item] : self.first_I[item + 1]].tolist()):
            masks[word] = masks.get(word, 0) | 1 << place
        return masks


def build_index(items: Mapping[str, Path], config: DecontaminateConfig, folder: Path) -> None:
    """Index every item.

    Args:
        items: folders with parts of documents by the name of the evaluation set; each document is one item.
        config: lengths of runs.
        folder: where the index goes.
    """
    names: list[tuple[str, str]] = []
    pieces: dict[str, list[npt.NDArray[Any]]] = {key: [] for key in ("words", "aligned", "count")}
    runs: dict[str, list[npt.NDArray[Any]]] = {f"{k}.{f}": [] for k in ("long", "seeds") for f in ("hash", "item", "place")}
    for name, source in items.items():
        for table in read_tables(source, ["id", "text"]):
            ids = table.column("id").to_pylist()
            for first, some in slices_of(table.column("text")):
                words = words_of(some)
                _add(words, len(names), config, pieces, runs)
                names += [(name, identity) for identity in ids[first : first + len(some)]]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ITEMS, names)
    for key, arrays in pieces.items():
        kind = np.uint64 if key == "words" else np.int64
        np.save(folder / f"{key}.npy", np.concatenate([np.empty(0, kind), *arrays]), allow_pickle=False)
    for kind_of_run in ("long", "seeds"):
        _save_sorted(folder, kind_of_run, runs)


def _add(words: Words, first_item: int, config: DecontaminateConfig, pieces: dict[str, Any], runs: dict[str, Any]) -> None:
    count_D = words.count_D
    aligned = (count_D >= config.min_words) & (count_D <= LONGEST_ALIGNED)
    pieces["words"].append(words.hash_W[np.repeat(aligned, count_D)])
    pieces["aligned"].append(np.where(aligned, count_D, 0))
    pieces["count"].append(count_D)
    for kind, length, wanted in (("long", config.ngram, count_D >= config.min_words), ("seeds", config.seed, aligned)):
        hashes, first_D = shingles_of(words, length)
        runs_D = np.diff(first_D)
        wanted_R = np.repeat(wanted & (count_D >= length), runs_D)
        item_R = np.repeat(np.arange(len(runs_D)), runs_D)
        place_R = np.arange(len(hashes)) - np.repeat(first_D[:-1], runs_D)
        runs[f"{kind}.hash"].append(hashes[wanted_R])
        runs[f"{kind}.item"].append(item_R[wanted_R] + first_item)
        runs[f"{kind}.place"].append(place_R[wanted_R])


def _save_sorted(folder: Path, kind: str, runs: dict[str, list[npt.NDArray[Any]]]) -> None:
    hashes = np.concatenate([np.empty(0, np.uint64), *runs[f"{kind}.hash"]])
    columns = [np.concatenate([np.empty(0, np.int64), *runs[f"{kind}.{field}"]]) for field in ("item", "place")]
    order = np.lexsort((*reversed(columns), hashes))
    np.save(folder / f"{kind}.hash.npy", hashes[order], allow_pickle=False)
    for field, column in zip(("item", "place"), columns, strict=True):
        np.save(folder / f"{kind}.{field}.npy", column[order], allow_pickle=False)


@lru_cache(1)
def load_index(folder: Path) -> Index:
    """The index in a folder; its arrays stay on disk until they are looked at."""
    names = [(name, identity) for name, identity in read_json(folder / ITEMS)]
    aligned = np.load(folder / "aligned.npy", allow_pickle=False)
    long, seeds = (_load_runs(folder, kind) for kind in ("long", "seeds"))
    different = np.unique(np.stack((long.item_R.astype(np.uint64), long.hash_R)), axis=1)[0] if len(long.hash_R) else []
    return Index(
        names,
        np.load(folder / "count.npy", allow_pickle=False),
        np.load(folder / "words.npy", allow_pickle=False),
        np.concatenate(([0], np.cumsum(aligned))),
        long,
        seeds,
        np.bincount(np.asarray(different, np.int64), minlength=len(names)),
    )


def _load_runs(folder: Path, kind: str) -> Runs:
    hashes, item, place = (
        np.load(folder / f"{kind}.{f}.npy", mmap_mode="r", allow_pickle=False) for f in ("hash", "item", "place")
    )
    maybe = np.zeros(1 << FILTER_BITS, bool)
    maybe[hashes >> np.uint64(64 - FILTER_BITS)] = True
    return Runs(hashes, item, place, maybe)
