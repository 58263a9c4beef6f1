"""Documents that resemble a target corpus: the `toward` stage, by hashed n-grams (DSIR, Xie et al. 2023, arXiv 2302.03169).

    documents  part-*.parquet --.--> part-*.parquet     the documents with the largest log weight + Gumbel noise, in order
    target     part-*.parquet --'`-> dropped.parquet    id, source, rule, value (log weight + noise), threshold; never text
                                 `-> importance.json    {kept, of, divergence_before, divergence_after}: in nats
                                 `-> ledger.json

The weight of a document is how much more likely its words and pairs of words are under the target's frequencies than under the
corpus's own: the sum over its features of log p_target / p_corpus. Adding Gumbel noise and taking the largest is sampling
without replacement in proportion to the weights (Kool et al. 2019); the noise comes from the hash of the id. Memory follows the
number of buckets and one row group: keys lie sorted in files, and the threshold is found by bisection. Text is read as words
once: its buckets wait in the scratch folder, two to four bytes for each word and as many for each pair.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.base.errors import SourceError
from lmpipe.base.files import write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.base.randomness import derive_seed, unit_interval
from lmpipe.data.documents import TableWriter, count_rows, part_name, parts_of, tables_of
from lmpipe.data.dropped import dropped_rows, dropped_writer, gather_dropped
from lmpipe.data.mixing.config import TowardConfig
from lmpipe.data.parts import PartTask, finish, run_over_parts, run_part_tasks
from lmpipe.data.ranks import float_of_key, keys_of_floats, nth
from lmpipe.data.tasks import Tick, save_ledger

COUNTS, BUCKETS, SIZES, KEYS, SORTED = "counts.npy", "buckets.bin", "sizes.npy", "keys.npy", "sorted.npy"
FACTS = "importance.json"
RULE = "select_toward"
WORD = re.compile(r"\w+|[^\w\s]+")
"""Words and runs of punctuation, as the paper's tokenizer (NLTK's WordPunct) finds them, in lower case."""
SMOOTHING = 1e-8
"""Added to frequencies before the logarithm, as in the authors' code."""
REMEMBERED_WORDS = 1 << 18

Floats = npt.NDArray[np.float64]


def select_toward(
    documents: Path,
    target: Path,
    output: Path,
    *,
    config: TowardConfig,
    seed: int,
    scratch: Path,
    progress: Progress,
    workers: int,
) -> Ledger:
    """Keep the documents that resemble `target`.

    Args:
        documents: folder with parts of documents.
        target: folder with parts of documents that they shall resemble.
        output: an existing, empty folder.
        config: how many are kept, and the number of features.
        seed: of the noise.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done, three times over.
        workers: at most so many processes; changes no byte.

    Raises:
        SourceError: when more documents are asked for than there are.
    """
    options: dict[str, Any] = {"workers": workers, "progress": progress}
    rows = count_rows(documents)
    wanted = config.count if config.count is not None else max(1, round((config.fraction or 0) * rows))
    if wanted > rows:
        raise _too_many_asked(wanted, rows)
    of_target = _added(run_over_parts(_count_part, target, config.buckets, scratch / "target", **options))
    counted = run_over_parts(_count_part, documents, config.buckets, scratch / "corpus", **options)
    of_corpus = _added(counted)
    ratio = np.log(of_target / of_target.sum() + SMOOTHING) - np.log(of_corpus / of_corpus.sum() + SMOOTHING)
    np.save(scratch / "ratio.npy", ratio, allow_pickle=False)
    parts = parts_of(documents)
    to_score = [PartTask(part, (scratch / "ratio.npy", seed), (c,)) for part, c in zip(parts, counted, strict=True)]
    scored = run_part_tasks(_score_part, to_score, scratch / "scores", **options)
    keys = [np.load(folder / SORTED, mmap_mode="r", allow_pickle=False) for folder in scored]
    threshold = float_of_key(nth(keys, rows - wanted))
    both = zip(parts, counted, scored, strict=True)
    to_select = [PartTask(part, (threshold, config.buckets), (c, s)) for part, c, s in both]
    done = run_part_tasks(_select_part, to_select, scratch / "select", **options)
    ledger = finish(done, output, "select_toward")
    gather_dropped(done, output)
    facts = {"kept": ledger.rows_kept, "of": rows, "divergence_before": _divergence(of_target, of_corpus)}
    write_json(output / FACTS, {**facts, "divergence_after": _divergence(of_target, _added(done))})
    return ledger


class Features:
    """Hashed words and pairs of words of texts.

    >>> len(Features(4).of("a b a"))
    5
    """

    def __init__(self, buckets: int) -> None:
        self.buckets = buckets
        self._known = _Hashes()

    def of(self, text: str) -> npt.NDArray[np.int64]:
        """(n,): the bucket of every word and of every pair of neighbours, repeats included."""
        words = WORD.findall(text.lower())
        if len(self._known) > REMEMBERED_WORDS:
            self._known.clear()
        hashes = np.fromiter(map(self._known.__getitem__, words), np.uint64, len(words))
        pairs = _mixed(hashes[:-1] * np.uint64(0x9E3779B97F4A7C15) + hashes[1:])
        return (np.concatenate([hashes, pairs]) % np.uint64(self.buckets)).astype(np.int64)

    def of_all(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The buckets of several texts, one text after another, and how many each has."""
        found = [self.of(text) for text in texts]
        return np.concatenate([np.empty(0, np.int64), *found]), np.array([len(one) for one in found], np.int64)


class _Hashes(dict[str, int]):
    """The hash of every word that was asked for."""

    def __missing__(self, word: str) -> int:
        return self.setdefault(word, derive_seed(0, "word", word))


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Every bit in changes every bit out (SplitMix64's finaliser, Steele et al. 2014). Overflow is meant."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _count_part(task: PartTask, folder: Path, tick: Tick) -> None:
    """How often each bucket stands in a part, and the buckets of each of its documents."""
    features, sizes = Features(task.config), [np.empty(0, np.int64)]
    counts = np.zeros(task.config, np.int64)
    with (folder / BUCKETS).open("wb") as file:
        for table in tables_of(task.part, ["text"]):
            buckets, sizes_of_table = features.of_all(table.column("text").to_pylist())
            buckets.astype(_stored_type(task.config)).tofile(file)
            counts += np.bincount(buckets, minlength=task.config)
            sizes.append(sizes_of_table)
            tick(table.num_rows)
    np.save(folder / SIZES, np.concatenate(sizes), allow_pickle=False)
    np.save(folder / COUNTS, counts, allow_pickle=False)


class _Counted:
    """The buckets of a part's documents, as `_count_part` left them, some documents after others."""

    def __init__(self, folder: Path, buckets: int) -> None:
        self._sizes = np.load(folder / SIZES, allow_pickle=False)
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)])
        self._path, self._type, self._row = folder / BUCKETS, _stored_type(buckets), 0

    def next(self, rows: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The buckets of the next `rows` documents, one after another, and how many each has."""
        first, self._row = self._row, self._row + rows
        start, stop = int(self._starts[first]), int(self._starts[self._row])
        offset = start * self._type.itemsize
        found = np.fromfile(self._path, self._type, stop - start, offset=offset)
        return found.astype(np.int64), self._sizes[first : self._row]


def _stored_type(buckets: int) -> np.dtype[Any]:
    return np.min_scalar_type(buckets - 1)


def _added(folders: Sequence[Path]) -> npt.NDArray[np.int64]:
    total: npt.NDArray[np.int64] = np.sum([np.load(folder / COUNTS, allow_pickle=False) for folder in folders], axis=0)
    return total


def _score_part(task: PartTask, folder: Path, tick: Tick) -> None:
    path, seed = task.config
    (folder_counted,) = task.beside
    assert folder_counted is not None
    ratio: Floats = np.load(path, allow_pickle=False)
    counted, keys = _Counted(folder_counted, len(ratio)), []
    for table in tables_of(task.part, ["id"]):
        buckets, sizes = counted.next(table.num_rows)
        sums = np.concatenate([[0.0], np.cumsum(ratio[buckets])])[np.cumsum([0, *sizes])]
        keys.append(np.diff(sums) + _noise(table, seed))
        tick(table.num_rows)
    found = np.concatenate([np.empty(0), *keys])
    np.save(folder / KEYS, found, allow_pickle=False)
    np.save(folder / SORTED, np.sort(keys_of_floats(found)), allow_pickle=False)


def _noise(table: Any, seed: int) -> Floats:
    """A Gumbel variable for each document, from its id."""
    uniform = np.array([unit_interval(seed, RULE, identity) for identity in table.column("id").to_pylist()])
    noise: Floats = -np.log(-np.log(np.clip(uniform, 2.0**-60, 1 - 2.0**-53)))
    return noise


def _select_part(task: PartTask, folder: Path, tick: Tick) -> None:
    threshold, buckets = task.config
    folder_counted, folder_scored = task.beside
    assert folder_counted is not None
    assert folder_scored is not None
    keys: Floats = np.load(folder_scored / KEYS, allow_pickle=False)
    counted, ledger, counts, row = _Counted(folder_counted, buckets), Ledger(), np.zeros(buckets, np.int64), 0
    with (
        TableWriter(folder / part_name(0)) as kept_rows,
        dropped_writer(folder) as gone,
    ):
        for table in tables_of(task.part):
            values = keys[row : row + table.num_rows]
            stays = values >= threshold
            found, sizes = counted.next(table.num_rows)
            counts += np.bincount(found[np.repeat(stays, sizes)], minlength=buckets)
            lengths = pc.utf8_length(table.column("text")).to_pylist()
            for length, kept in zip(lengths, stays.tolist(), strict=True):
                if kept:
                    ledger.keep(length)
                else:
                    ledger.drop(RULE, length)
            kept_rows.write(table.filter(pa.array(stays)))
            gone.write(dropped_rows(table.filter(pa.array(~stays)), RULE, value=values[~stays], threshold=threshold))
            row += table.num_rows
            tick(table.num_rows)
    np.save(folder / COUNTS, counts, allow_pickle=False)
    save_ledger(folder, ledger)


def _divergence(target: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> float:
    """Kullback-Leibler divergence of the target's feature frequencies from the other's, in nats; add-one smoothed."""
    p = (target + 1) / (target.sum() + len(target))
    q = (other + 1) / (other.sum() + len(other))
    return float((p * np.log(p / q)).sum())


def _too_many_asked(wanted: int, rows: int) -> SourceError:
    return SourceError(
        f"select_toward asks for {wanted:,} documents, and the corpus has {rows:,}",
        where="select_toward",
        expected=f"at most {rows:,}",
        fix="lower count, or read more text",
    )
