"""Text of one side of a split that stands on another too: equal, or nearly so.

    train/ validation/ test/ --> leakage.json     {exact, near: {"train in test": documents, ...}, threshold, action, dropped}
                            `--> leaks.parquet    id, side, of, of_side, similarity (1: equal but for white space)

What counts is the document that should not be where it is: the training one, or the validation one where test text has it.
Equal texts are found by 64-bit hashes of the normalised text, near ones by MinHash with exact comparison (`dedup/minhash.py`).
Memory: 8 bytes for each held-out document, and the ids of what leaks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lmpipe.base.errors import SourceError
from lmpipe.base.files import write_json
from lmpipe.data.dedup.config import ExactConfig, MinhashConfig
from lmpipe.data.dedup.exact import normalised
from lmpipe.data.dedup.minhash import near_pairs
from lmpipe.data.documents import TableWriter, parts_of, tables_of
from lmpipe.data.parts import PartTask, run_over_parts
from lmpipe.data.splitting.config import LeakageConfig
from lmpipe.data.tasks import Tick

FACTS, LEAKS, HASHES, GONE = "leakage.json", "leaks.parquet", "hashes.npy", "gone.parquet"
PAIRS = (("train", "test"), ("train", "validation"), ("validation", "test"))
"""(the side that should not have the text, the side whose text it is)"""
SCHEMA = pa.schema(
    [("id", pa.string()), ("side", pa.string()), ("of", pa.string()), ("of_side", pa.string()), ("similarity", pa.float64())]
)
GONE_SCHEMA = pa.schema([("id", pa.string()), ("of", pa.string()), ("similarity", pa.float64()), ("threshold", pa.float64())])
EQUAL = ExactConfig()


@dataclass(frozen=True)
class Leak:
    """One document that stands on another side, too."""

    id: str
    side: str
    of: str
    of_side: str
    similarity: float


def find_leaks(sides: Path, config: LeakageConfig, scratch: Path, **options: Any) -> list[Leak]:
    """Compare the sides of a split.

    Args:
        sides: folder with `train/`, `validation/`, `test/`.
        config: what counts as near.
        scratch: survives a kill; what is done is not done again.
        options: `workers` and `progress`.

    Returns:
        Each leaking document once for each side that it leaks from, equal ones first.
    """
    hashed = {
        side: run_over_parts(_hash_part, sides / side, None, scratch / f"hashes-{side}", **options)
        for side in ("train", "validation", "test")
    }
    leaks: dict[tuple[str, str], Leak] = {}
    for side, of_side in PAIRS:
        for leak in _equal(sides, hashed, side, of_side):
            leaks.setdefault((leak.id, of_side), leak)
        if config.near is not None:
            near = MinhashConfig(threshold=config.near)
            pairs = near_pairs(
                sides / of_side, sides / side, config=near, scratch=scratch / f"near-{side}-{of_side}", **options
            )
            for pair in sorted(pairs, key=lambda pair: (pair.other, -pair.similarity, pair.one)):
                leaks.setdefault((pair.other, of_side), Leak(pair.other, side, pair.one, of_side, pair.similarity))
    return list(leaks.values())


def _hash_part(task: PartTask, folder: Path, tick: Tick) -> None:
    blocks = [np.empty(0, np.uint64)]
    for table in tables_of(task.part, ["text"]):
        texts = (normalised(text, EQUAL) for text in table.column("text").to_pylist())
        digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
        blocks.append(np.frombuffer(digests, np.uint64))
        tick(table.num_rows)
    np.save(folder / HASHES, np.concatenate(blocks), allow_pickle=False)


def _equal(sides: Path, hashed: Mapping[str, list[Path]], side: str, of_side: str) -> Iterator[Leak]:
    """Documents of `side` whose text is one of `of_side`'s."""
    held = np.concatenate([np.load(folder / HASHES, allow_pickle=False) for folder in hashed[of_side]])
    found: list[tuple[str, int]] = []
    for part, folder in zip(parts_of(sides / side), hashed[side], strict=True):
        hashes: npt.NDArray[np.uint64] = np.load(folder / HASHES, allow_pickle=False)
        rows = np.flatnonzero(np.isin(hashes, held))
        if len(rows):
            ids = [identity for table in tables_of(part, ["id"]) for identity in table.column("id").to_pylist()]
            found += [(ids[row], int(hashes[row])) for row in rows.tolist()]
    owners = _owners(sides / of_side, hashed[of_side], {number for _, number in found})
    return (Leak(identity, side, owners[number], of_side, 1.0) for identity, number in found)


def _owners(side: Path, hashed: list[Path], wanted: set[int]) -> dict[int, str]:
    """The first document of a side with each of some hashes."""
    owners: dict[int, str] = {}
    for part, folder in zip(parts_of(side), hashed, strict=True) if wanted else ():
        hashes = np.load(folder / HASHES, allow_pickle=False).tolist()
        ids = (identity for table in tables_of(part, ["id"]) for identity in table.column("id").to_pylist())
        for identity, number in zip(ids, hashes, strict=True):
            if number in wanted:
                owners.setdefault(number, identity)
    return owners


def write_leaks(leaks: list[Leak], config: LeakageConfig, output: Path) -> None:
    """Leave what was found beside the sides."""
    equal = [leak for leak in leaks if leak.similarity == 1.0]
    near = [leak for leak in leaks if leak.similarity < 1.0]
    facts = {"exact": _counts(equal), **({"near": _counts(near), "threshold": config.near} if config.near is not None else {})}
    dropped = len({leak.id for leak in leaks}) if config.action == "drop" else 0
    write_json(output / FACTS, {**facts, "action": config.action, "dropped": dropped})
    with TableWriter(output / LEAKS, SCHEMA) as writer:
        writer.write(pa.Table.from_pylist([vars(leak) for leak in leaks], schema=SCHEMA))


def _counts(leaks: list[Leak]) -> dict[str, int]:
    return {f"{side} in {of}": sum((leak.side, leak.of_side) == (side, of) for leak in leaks) for side, of in PAIRS}


def keep_gone(leaks: list[Leak], config: LeakageConfig, scratch: Path) -> Path:
    """A file with what leaks (id, of, similarity, threshold), each document once, for the tasks that leave it out."""
    first: dict[str, Leak] = {}
    for leak in leaks:
        first.setdefault(leak.id, leak)
    rows = [
        {
            "id": leak.id,
            "of": leak.of,
            "similarity": leak.similarity,
            "threshold": 1.0 if leak.similarity == 1.0 else config.near,
        }
        for leak in first.values()
    ]
    with TableWriter(scratch / GONE, GONE_SCHEMA) as writer:
        writer.write(pa.Table.from_pylist(rows, schema=GONE_SCHEMA))
    return scratch / GONE


def refused(leaks: list[Leak], config: LeakageConfig) -> SourceError:
    """The sides share text, and the recipe refuses that."""
    counts = {name: count for name, count in _counts(leaks).items() if count}
    shown = "; ".join(f"{leak.id} ({leak.side}) is in {leak.of_side}: {leak.of}" for leak in leaks[:3])
    return SourceError(
        f"the sides of the split share text: {', '.join(f'{count} documents of {name}' for name, count in counts.items())}",
        where=shown,
        expected="no document" + (f" with a similarity of {config.near} or more" if config.near else "") + " on two sides",
        fix="remove duplicates (`dedup`), split by source or group, or say `leakage: {action: drop}`",
    )
