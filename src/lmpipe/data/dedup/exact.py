"""Documents that repeat an earlier one, exact on normalised text. What comes out: `marking.py`.

Equal means equal 128-bit hashes of the normalised text (two different texts meet with a chance of 1e-18 among 10^10 documents).
Of equal documents the first in the order of the corpus survives; one that also stands in a fixed corpus never does.

Beyond memory: each part's hashes are sorted into a file, and one range of hashes is held at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.dedup.config import ExactConfig
from lmpipe.data.dedup.marking import PAIR, Layout, lay_out, mark, unmarked
from lmpipe.data.dedup.ranges import SortedWriter, merged
from lmpipe.data.documents import tables_of
from lmpipe.data.parts import PartTask, run_part_tasks
from lmpipe.data.tasks import Tick

REASON = "exact duplicate"
HASHES = "hashes"
HASH = np.dtype([("high", "<u8"), ("low", "<u8"), ("row", "<i8")])
"""`row` counts within the part."""


def mark_duplicates(
    documents: Path,
    output: Path,
    *,
    config: ExactConfig,
    scratch: Path,
    progress: Progress,
    workers: int,
    against: Mapping[str, Path] | None = None,
    earlier: Sequence[Path] = (),
) -> Ledger:
    """Find every document that repeats an earlier one.

    Args:
        documents: folder with parts of documents.
        output: an existing, empty folder.
        config: what counts as equal.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done.
        workers: at most so many processes; changes no byte.
        against: folders of fixed corpora by name; their documents come first and always stay.
        earlier: sidecars of earlier steps; documents marked there are left out.
    """
    layout = lay_out(documents, against or {}, earlier)
    tasks = [PartTask(part, config, beside) for part, beside in zip(layout.parts, layout.beside, strict=True)]
    hashed = run_part_tasks(_hash_part, tasks, scratch / "hashes", workers=workers, progress=progress)
    pairs = _pairs(layout, hashed)
    options = {"reason": REASON, "threshold": None, "scratch": scratch, "progress": progress, "workers": workers}
    return mark(layout, pairs, output, **options)  # type: ignore[arg-type]


def normalised(text: str, config: ExactConfig) -> str:
    """What of a text counts when it is compared."""
    text = text.casefold() if config.ignore_case else text
    return " ".join(text.split()) if config.ignore_white_space else text


def _hash_part(task: PartTask, folder: Path, tick: Tick) -> None:
    """The sorted hashes of one part."""
    writer = SortedWriter(folder, HASHES, HASH, "high")
    beside = [tables_of(path, ["duplicate_of"]) for path in task.beside if path]
    row = 0
    for table in tables_of(task.part, ["text"]):
        texts = (normalised(text, task.config) for text in table.column("text").to_pylist())
        digests = b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts)
        halves = np.frombuffer(digests, dtype=[("high", "<u8"), ("low", "<u8")])
        found = np.empty(len(halves), HASH)
        found["high"], found["low"], found["row"] = halves["high"], halves["low"], np.arange(row, row + len(halves))
        stays = unmarked(beside)
        writer.add(found if stays is None else found[stays.to_numpy(zero_copy_only=False)])
        row += table.num_rows
        tick(table.num_rows)
    writer.close()


def _pairs(layout: Layout, folders: Sequence[Path]) -> Iterator[npt.NDArray[np.void]]:
    """(first of equal documents, another one), range of hashes by range."""
    for together, part in merged(folders, HASHES, HASH, "high"):
        row = layout.first_P[part] + together["row"]
        order = np.lexsort((row, together["low"], together["high"]))
        together, row = together[order], row[order]
        repeats = np.zeros(len(together), bool)
        repeats[1:] = (together["high"][1:] == together["high"][:-1]) & (together["low"][1:] == together["low"][:-1])
        first = np.maximum.accumulate(np.where(repeats, 0, np.arange(len(together))))
        repeats &= row >= layout.first_own_row
        if repeats.any():
            pairs = np.empty(int(repeats.sum()), PAIR)
            pairs["survivor"], pairs["duplicate"], pairs["similarity"] = row[first[repeats]], row[repeats], np.nan
            yield pairs
