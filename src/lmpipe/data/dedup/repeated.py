"""Lines and paragraphs that stand in several documents are taken out of all but the first. What comes out: `rewriting.py`.

Two are the same when their text is, but for white space around and within. A line that one document repeats counts once there:
what repeats itself within a document is measured by the `repetition` filter. Known by 128-bit hashes, one range of them at a
time.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.dedup.config import LinesConfig, ParagraphsConfig
from lmpipe.data.dedup.marking import lay_out
from lmpipe.data.dedup.ranges import SortedWriter, merged, scatter
from lmpipe.data.dedup.rewriting import Span, rewrite
from lmpipe.data.documents import parts_of, tables_of
from lmpipe.data.parts import PartTask, run_over_parts
from lmpipe.data.tasks import Tick

UNITS = "units"
UNIT = np.dtype([("high", "<u8"), ("low", "<u8"), ("row", "<i8")])
"""One for each different unit of a document; `row` counts within the part."""
BETWEEN_PARAGRAPHS = re.compile(r"\n\s*\n")
LINE_END = re.compile(r"\n")


def remove_repeated(
    documents: Path,
    output: Path,
    *,
    config: LinesConfig | ParagraphsConfig,
    scratch: Path,
    progress: Progress,
    workers: int,
) -> Ledger:
    """Take repeated lines or paragraphs out of documents.

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
    hashed = run_over_parts(_hash_part, documents, config, scratch / "units", **options)
    repeated = Counter[int]()
    found = _repeated(documents, hashed, config, repeated)
    removals = scatter(found, len(parts_of(documents)), scratch / "removals")
    return rewrite(
        documents, output, removals, find_units, kind=UNIT, repeated=repeated, config=config, scratch=scratch, **options
    )


def units_of(text: str, config: LinesConfig | ParagraphsConfig) -> Iterator[tuple[Span, bytes]]:
    """The units of a text that are long enough: where they stand, with what parts them from the next; 128 bits of their
    text."""
    border = LINE_END if isinstance(config, LinesConfig) else BETWEEN_PARAGRAPHS
    start = 0
    for end, after in [*(match.span() for match in border.finditer(text)), (len(text), len(text))]:
        if end - start >= config.min_characters:
            unit = " ".join(text[start:end].split())
            if len(unit) >= config.min_characters:
                yield (start, after), hashlib.blake2b(unit.encode(), digest_size=16).digest()
        start = after


def find_units(text: str, wanted: npt.NDArray[np.void], config: Any) -> list[Span]:
    """Where the units with the wanted hashes stand."""
    keys = {unit.tobytes() for unit in wanted[["high", "low"]].astype([("high", "<u8"), ("low", "<u8")])}
    return [span for span, key in units_of(text, config) if key in keys]


def _hash_part(task: PartTask, folder: Path, tick: Tick) -> None:
    writer = SortedWriter(folder, UNITS, UNIT, "high")
    row = 0
    for table in tables_of(task.part, ["text"]):
        keys: list[bytes] = []
        rows: list[int] = []
        for number, text in enumerate(table.column("text").to_pylist(), start=row):
            different = dict.fromkeys(key for _, key in units_of(text, task.config))
            keys += different
            rows += [number] * len(different)
        block = np.empty(len(rows), UNIT)
        halves = np.frombuffer(b"".join(keys), [("high", "<u8"), ("low", "<u8")])
        block["high"], block["low"], block["row"] = halves["high"], halves["low"], rows
        writer.add(block)
        row += table.num_rows
        tick(table.num_rows)
    writer.close()


def _repeated(
    documents: Path, folders: Sequence[Path], config: LinesConfig | ParagraphsConfig, repeated: Counter[int]
) -> Iterator[tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]]:
    """(units to be taken out, their parts), range of hashes by range; counts in how many documents each stands."""
    layout = lay_out(documents, {}, ())
    for together, part in merged(folders, UNITS, UNIT, "high"):
        row = layout.first_P[part] + together["row"]
        order = np.lexsort((row, together["low"], together["high"]))
        together, part = together[order], part[order]
        first = np.ones(len(together), bool)
        first[1:] = (together["high"][1:] != together["high"][:-1]) | (together["low"][1:] != together["low"][:-1])
        group = np.cumsum(first) - 1
        size_of_group = np.bincount(group)
        repeats = size_of_group >= config.min_documents
        repeated.update(size_of_group[repeats].tolist())
        taken = repeats[group] & (~first if config.keep == "first" else True)
        yield together[taken], part[taken]
