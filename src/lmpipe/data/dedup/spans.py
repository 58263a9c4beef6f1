"""Runs of words that stand in an earlier document are taken out of the later ones. What comes out: `rewriting.py`.

    every run of 13 words of every document > runs that two documents share > words covered by them, 50 and more in a row > gone

Case and punctuation count for nothing (`shingles.py`). The first document that has a run keeps it. Scratch takes 16 bytes a
word: three times the text, for the time of this step. A run is known by a 64-bit hash: text would go by mistake only if 38 runs
in a row met others by chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.dedup.config import SpansConfig
from lmpipe.data.dedup.marking import lay_out
from lmpipe.data.dedup.ranges import SortedWriter, merged, scatter
from lmpipe.data.dedup.rewriting import Span, rewrite
from lmpipe.data.dedup.shingles import shingles_of, slices_of, word_spans, words_of
from lmpipe.data.documents import parts_of, tables_of
from lmpipe.data.parts import PartTask, run_over_parts
from lmpipe.data.tasks import Tick

RUNS = "runs"
RUN = np.dtype([("key", "<u8"), ("row", "<u4"), ("place", "<u4")])
"""`row` counts within the part, `place` is the number of the run's first word in the document."""


def remove_spans(
    documents: Path, output: Path, *, config: SpansConfig, scratch: Path, progress: Progress, workers: int
) -> Ledger:
    """Take runs of words out of documents that an earlier document has.

    Args:
        documents: folder with parts of documents.
        output: an existing, empty folder.
        config: what counts as repeated.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done, twice over.
        workers: at most so many processes; changes no byte.

    Raises:
        SourceError: when no document is left.
    """
    options: dict[str, Any] = {"workers": workers, "progress": progress}
    hashed = run_over_parts(_hash_part, documents, config, scratch / "runs", **options)
    repeated = Counter[int]()
    found = _repeated(documents, hashed, repeated)
    removals = scatter(found, len(parts_of(documents)), scratch / "removals")
    return rewrite(
        documents, output, removals, find_spans, kind=RUN, repeated=repeated, config=config, scratch=scratch, **options
    )


def find_spans(text: str, wanted: npt.NDArray[np.void], config: Any) -> list[Span]:
    """Where words covered by the wanted runs stand, so many in a row as the config asks for."""
    words = word_spans(text)
    covered = np.zeros(len(words) + 1, bool)
    for step in range(config.ngram):
        covered[wanted["place"].astype(np.int64) + step] = True
    borders = np.flatnonzero(np.diff(covered.astype(np.int8), prepend=0))
    runs = borders.reshape(-1, 2).tolist()
    return [(words[first][0], _end(text, words[last - 1][1])) for first, last in runs if last - first >= config.min_words]


def _end(text: str, end: int) -> int:
    """The punctuation that closes a span and the space after it go with it."""
    while end < len(text) and not (text[end].isalnum() or text[end].isspace()):
        end += 1
    return end + (end < len(text) and text[end] == " ")


def _hash_part(task: PartTask, folder: Path, tick: Tick) -> None:
    writer = SortedWriter(folder, RUNS, RUN, "key")
    row = 0
    for table in tables_of(task.part, ["text"]):
        for first, some in slices_of(table.column("text")):
            words = words_of(some)
            hashes, first_D = shingles_of(words, task.config.ngram)
            runs_D = np.diff(first_D)
            block = np.empty(len(hashes), RUN)
            block["key"] = hashes
            block["row"] = np.repeat(np.arange(row + first, row + first + len(runs_D)), runs_D)
            block["place"] = np.arange(len(hashes)) - np.repeat(first_D[:-1], runs_D)
            writer.add(block[np.repeat(words.count_D >= task.config.ngram, runs_D)])
        row += table.num_rows
        tick(table.num_rows)
    writer.close()


def _repeated(
    documents: Path, folders: Sequence[Path], repeated: Counter[int]
) -> Iterator[tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]]:
    """(runs that an earlier document has, their parts), range of hashes by range; counts in how many documents each stands."""
    layout = lay_out(documents, {}, ())
    for together, part in merged(folders, RUNS, RUN, "key"):
        row = layout.first_P[part] + together["row"]
        order = np.lexsort((row, together["key"]))
        together, part, row = together[order], part[order], row[order]
        first = np.ones(len(together), bool)
        first[1:] = together["key"][1:] != together["key"][:-1]
        group = np.cumsum(first) - 1
        new_document = first.copy()
        new_document[1:] |= row[1:] != row[:-1]
        documents_of_group = np.bincount(group, new_document).astype(np.int64)
        repeated.update(documents_of_group[documents_of_group > 1].tolist())
        taken = row != row[np.flatnonzero(first)][group]
        yield together[taken], part[taken]
