"""Near duplicates: documents whose sets of shingles have a Jaccard similarity of at least a threshold. What comes out:
`marking.py`.

    keys of every part > pairs that share a key > sets of the candidates > exact comparison > clusters > sidecars

Every pair is compared exactly before it joins a cluster, so no cluster is held together by chance (precision 1.0 at the
threshold); a pair at the threshold is missed with a probability of at most 1 - `recall`. A cluster is what hangs together by
such pairs: its first document in the order of the corpus stays, though the last one may resemble it only through those between.
`similarity` in a sidecar is the highest that was measured between the document and one of its cluster; a pair whose ends hang
together already is not measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.dedup.candidates import find_candidates, key_part
from lmpipe.data.dedup.comparing import Stored, jaccard, store_part
from lmpipe.data.dedup.config import MinhashConfig
from lmpipe.data.dedup.forest import EDGE, Forest, clusters_of
from lmpipe.data.dedup.marking import Layout, lay_out, mark, names_of
from lmpipe.data.dedup.shingles import Integers
from lmpipe.data.parts import PartTask, run_part_tasks
from lmpipe.data.tasks import Tick, run_tasks

REASON = "near duplicate"
VERIFIED = "verified"


class NearPair(NamedTuple):
    """Two documents that are alike, by their ids."""

    one: str
    other: str
    similarity: float


def mark_near_duplicates(
    documents: Path,
    output: Path,
    *,
    config: MinhashConfig,
    scratch: Path,
    progress: Progress,
    workers: int,
    against: Mapping[str, Path] | None = None,
    earlier: Sequence[Path] = (),
) -> Ledger:
    """Find every document that nearly repeats an earlier one.

    Args:
        documents: folder with parts of documents.
        output: an existing, empty folder.
        config: what counts as near.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done, then pairs compared.
        workers: at most so many processes; changes no byte.
        against: folders of fixed corpora by name; their documents come first and always stay.
        earlier: sidecars of earlier steps; documents marked there are left out.
    """
    layout = lay_out(documents, against or {}, earlier)
    search = _Search(layout, config, scratch, progress, workers)
    edges = search.edges(only_across=False)
    pairs = clusters_of(layout, edges)
    options = {"reason": REASON, "threshold": config.threshold, "scratch": scratch, "progress": progress, "workers": workers}
    return mark(layout, pairs, output, **options)  # type: ignore[arg-type]


def near_pairs(
    one: Path, other: Path, *, config: MinhashConfig, scratch: Path, progress: Progress, workers: int
) -> Iterator[NearPair]:
    """Every pair of a document of `one` and a document of `other` that are alike: for leaks from one side of a split to
    another.

    Args:
        one: folder with parts of documents.
        other: folder with parts of documents.
        config: what counts as near.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done, then pairs compared.
        workers: at most so many processes.
    """
    layout = lay_out(other, {"one": one}, ())
    for path in _Search(layout, config, scratch, progress, workers).edges(only_across=True):
        edges = np.fromfile(path, EDGE)
        lower, higher = names_of(layout, edges["lower"]), names_of(layout, edges["higher"])
        yield from map(NearPair, lower, higher, edges["similarity"].tolist())


@dataclass(frozen=True)
class _Search:
    """From texts to pairs that were compared and found alike."""

    layout: Layout
    config: MinhashConfig
    scratch: Path
    progress: Progress
    workers: int

    def edges(self, *, only_across: bool) -> list[Path]:
        """Files of `EDGE`."""
        layout = self.layout
        tasks = [PartTask(part, self.config, beside) for part, beside in zip(layout.parts, layout.beside, strict=True)]
        keyed = self._over_parts(key_part, tasks, "keys")
        slices, rows = find_candidates(layout, keyed, self.scratch / "candidates", only_across=only_across)
        cuts = np.searchsorted(rows, layout.first_P)
        wanted = [rows[cuts[i] : cuts[i + 1]] - layout.first_P[i] for i in range(len(layout.parts))]
        tasks = [PartTask(*three) for three in zip(layout.parts, wanted, ((folder,) for folder in keyed), strict=True)]
        stored = Stored(rows, np.diff(cuts), self._over_parts(store_part, tasks, "shingles"))
        verifier = _Verifier(stored, rows, self.config.threshold, follow=not only_across)
        sizes = [path.stat().st_size / 8 for path in slices]
        with closing(stored):
            done = run_tasks(
                verifier, slices, sizes, self.scratch / "verified", workers=1, progress=self.progress, unit="pairs"
            )
        return [folder / VERIFIED for folder in done]

    def _over_parts(self, function: Any, tasks: Sequence[PartTask], name: str) -> list[Path]:
        return run_part_tasks(function, tasks, self.scratch / name, workers=self.workers, progress=self.progress)


class _Verifier:
    """Compares the pairs of one file after the other, in their order, in this process: a pair whose ends hang together by pairs
    already found needs no comparison. A fifth of the step's time where two thirds of the documents are copies."""

    def __init__(self, stored: Stored, rows: Integers, threshold: float, *, follow: bool) -> None:
        self._stored, self._rows, self._threshold, self._follow = stored, rows, threshold, follow
        self._forest: Forest | None = None

    def __call__(self, task: Path, folder: Path, tick: Tick) -> None:
        """Compare the pairs of one file."""
        several = np.fromfile(task, np.uint64)
        pairs = np.unique(several)
        lower = self._stored.places_of((pairs >> np.uint64(32)).astype(np.int64))
        higher = self._stored.places_of((pairs & np.uint64(0xFFFFFFFF)).astype(np.int64))
        possible = self._stored.could_reach(lower, higher, self._threshold)
        forest = self._grown(folder.parent) if self._follow else None
        found = list(self._compare(lower[possible].tolist(), higher[possible].tolist(), forest))
        tick(len(several))
        edges = np.array(found, EDGE) if found else np.empty(0, EDGE)
        edges["lower"], edges["higher"] = self._rows[edges["lower"]], self._rows[edges["higher"]]
        edges.tofile(folder / VERIFIED)

    def _compare(self, lower: list[int], higher: list[int], forest: Forest | None) -> Iterator[tuple[int, int, float]]:
        loaded, one = -1, np.empty(0, np.uint64)
        for low, high in zip(lower, higher, strict=True):
            if forest is not None and forest.root(low) == forest.root(high):
                continue
            if low != loaded:
                loaded, one = low, self._stored.load(low)
            similarity = jaccard(one, self._stored.load(high))
            if similarity >= self._threshold:
                if forest is not None:
                    forest.join(low, high)
                yield low, high, similarity

    def _grown(self, folder: Path) -> Forest:
        """The clusters by what was found so far: before this process was started, too."""
        if self._forest is None:
            self._forest = Forest(len(self._rows))
            for done in sorted(folder.glob("[0-9]*")):
                edges = np.fromfile(done / VERIFIED, EDGE)
                for low, high in zip(
                    *(self._stored.places_of(edges[end]).tolist() for end in ("lower", "higher")), strict=True
                ):
                    self._forest.join(low, high)
        return self._forest
