"""Documents that say the same in other words: embeddings whose cosine reaches a threshold. What comes out: `marking.py`.

    texts > vectors of length one, part by part > every block of 1,024 with every other > clusters > sidecars

Every pair is compared (no index, nothing missed), so the time grows with the square of the documents: a million with 384
numbers each take 4e14 multiplications. The model is handed in as a function; what two texts have in common is its opinion.
Equal on one machine with one number of threads; elsewhere the last bits of a cosine may differ, which matters only exactly at
the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.dedup.config import SemanticConfig
from lmpipe.data.dedup.forest import EDGE, Forest, clusters_of
from lmpipe.data.dedup.marking import lay_out, mark, unmarked
from lmpipe.data.documents import rows_in, tables_of
from lmpipe.data.parts import PartTask
from lmpipe.data.tasks import Tick, run_tasks

REASON = "semantic duplicate"
VECTORS, ROWS, ALIKE = "vectors.npy", "rows.npy", "alike"
BLOCK = 1024
BATCH = 32
Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
"""Texts to vectors, shape (texts, numbers)."""
Block = tuple[int, int, int]
"""(file of vectors, first vector, one past the last)."""


def mark_semantic_duplicates(
    documents: Path,
    output: Path,
    *,
    config: SemanticConfig,
    embed: Embed,
    scratch: Path,
    progress: Progress,
    workers: int,
    against: Mapping[str, Path] | None = None,
    earlier: Sequence[Path] = (),
) -> Ledger:
    """Find every document that says what an earlier one says.

    Args:
        documents: folder with parts of documents.
        output: an existing, empty folder.
        config: what counts as the same.
        embed: the model; called in this process, 32 texts at a time.
        scratch: survives a kill; what is done is not done again.
        progress: told documents embedded, then blocks compared.
        workers: at most so many processes for the comparison; changes no byte.
        against: folders of fixed corpora by name; their documents come first and always stay.
        earlier: sidecars of earlier steps; documents marked there are left out.
    """
    layout = lay_out(documents, against or {}, earlier)
    tasks = [PartTask(part, None, beside) for part, beside in zip(layout.parts, layout.beside, strict=True)]
    rows = [float(rows_in(part)) for part in layout.parts]
    options: dict[str, Any] = {"progress": progress, "workers": workers}
    embedded = run_tasks(_Embedder(embed), tasks, rows, scratch / "vectors", workers=1, progress=progress, unit="documents")
    counts = [len(np.load(folder / ROWS, mmap_mode="r", allow_pickle=False)) for folder in embedded]
    blocks = [(file, start, min(start + BLOCK, n)) for file, n in enumerate(counts) for start in range(0, n, BLOCK)]
    starts = [int(first) for first in layout.first_P[:-1]]
    searches = [
        (config.threshold, embedded, starts, block, blocks[number:], layout.first_own_row)
        for number, block in enumerate(blocks)
    ]
    sizes = [float(len(search[4])) for search in searches]
    found = run_tasks(_compare, searches, sizes, scratch / "alike", unit="blocks", **options)
    pairs = clusters_of(layout, [folder / ALIKE for folder in found])
    return mark(layout, pairs, output, reason=REASON, threshold=config.threshold, scratch=scratch, **options)


class _Embedder:
    """Vectors of length one for the documents of a part that no earlier step marked and that hold any text."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed

    def __call__(self, task: PartTask, folder: Path, tick: Tick) -> None:
        """Embed one part."""
        vectors: list[Vectors] = []
        rows: list[int] = []
        beside = [tables_of(path, ["duplicate_of"]) for path in task.beside if path]
        row = 0
        for table in tables_of(task.part, ["text"]):
            stays = unmarked(beside)
            chosen = stays.to_pylist() if stays is not None else [True] * table.num_rows
            texts = table.column("text").to_pylist()
            here = [place for place, text in enumerate(texts) if chosen[place] and text.strip()]
            for first in range(0, len(here), BATCH):
                some = here[first : first + BATCH]
                vectors.append(_of_length_one(self._embed([texts[place] for place in some])))
                rows += [row + place for place in some]
                tick(len(some))
            row += table.num_rows
        np.save(folder / VECTORS, np.concatenate(vectors) if vectors else np.empty((0, 1), np.float32), allow_pickle=False)
        np.save(folder / ROWS, np.array(rows, np.int64), allow_pickle=False)


def _of_length_one(vectors: Vectors) -> Vectors:
    vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    normed: Vectors = vectors / np.maximum(lengths, np.float32(1e-12))
    return normed


def _compare(task: Any, folder: Path, tick: Tick) -> None:
    """One block with itself and with every later one; pairs within a fixed corpus do not matter. Of the pairs found, those are
    kept that hold the clusters together, and the best of each document."""
    threshold, files, starts, block, others, first_own_row = task
    vectors, rows = _load(files, starts, block)
    found: list[tuple[int, int, float]] = []
    for other in others:
        against, other_rows = _load(files, starts, other)
        cosine = vectors @ against.T
        for i, j in np.argwhere(cosine >= threshold).tolist():
            low, high = sorted((int(rows[i]), int(other_rows[j])))
            if low < high and high >= first_own_row:
                found.append((low, high, round(float(cosine[i, j]), 6)))
        found = _thinned(found)
        tick(1)
    (np.array(found, EDGE) if found else np.empty(0, EDGE)).tofile(folder / ALIKE)


def _thinned(found: list[tuple[int, int, float]]) -> list[tuple[int, int, float]]:
    """A spanning forest of the best pairs: as many as there are documents, not as there are pairs."""
    found = sorted(set(found), key=lambda edge: (-edge[2], edge[0], edge[1]))
    place = {row: number for number, row in enumerate(sorted({row for edge in found for row in edge[:2]}))}
    forest, kept = Forest(len(place)), []
    for low, high, cosine in found:
        if forest.root(place[low]) != forest.root(place[high]):
            forest.join(place[low], place[high])
            kept.append((low, high, cosine))
    return kept


def _load(files: Sequence[Path], starts: Sequence[int], block: Block) -> tuple[Vectors, npt.NDArray[np.int64]]:
    file, first, last = block
    vectors = np.array(np.load(files[file] / VECTORS, mmap_mode="r", allow_pickle=False)[first:last])
    rows = np.load(files[file] / ROWS, allow_pickle=False)[first:last]
    return vectors, rows + starts[file]
