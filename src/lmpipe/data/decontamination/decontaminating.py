"""Training text less what evaluation asks: the `decontaminate` stage. Only the training side loses documents.

    split --> train/part-*.parquet, validation/, test/   as before, less the training documents that hold an item
         `--> dropped.parquet         id, source, rule, value, threshold, duplicate_of (the item: `set/id`); never text
         `--> hits.parquet            document, set, item, rule, value: every hit, at most 100 items of one document
         `--> contaminated.parquet    set, item, documents: every item that was found, and in how many documents
         `--> contamination.json      per set: items, too short to look for, found; documents that hold any; the items found
         most `--> splits.json, composition.json   counted again;  ledger.json

The texts of the items are handed in as folders of documents, whatever they come from. What was rewritten is not found
(`matching.py`).
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.decontamination.config import DecontaminateConfig
from lmpipe.data.decontamination.index import Index, build_index, load_index
from lmpipe.data.decontamination.matching import Hit, find_hits
from lmpipe.data.dedup.shingles import slices_of, words_of
from lmpipe.data.documents import TableWriter, part_name, tables_of
from lmpipe.data.dropped import dropped_rows, dropped_writer, gather_dropped
from lmpipe.data.parts import PartTask, nothing_left, run_over_parts
from lmpipe.data.tasks import Tick, add_ledgers, gather_parts, load_ledger, save_ledger

HITS, ITEMS, REPORT = "hits.parquet", "contaminated.parquet", "contamination.json"
HIT_SCHEMA = pa.schema(
    [("document", pa.string()), ("set", pa.string()), ("item", pa.string()), ("rule", pa.string()), ("value", pa.float64())]
)
ITEM_SCHEMA = pa.schema([("set", pa.string()), ("item", pa.string()), ("documents", pa.int64())])
COUNTS, LOST = "counts.npy", "lost.json"
ITEMS_OF_A_DOCUMENT = 100
SHOWN_ITEMS, SHOWN_DOCUMENTS = 50, 10
RULE = "decontaminate.{rule}"


def decontaminate(
    split: Path,
    output: Path,
    *,
    items: Mapping[str, Path],
    config: DecontaminateConfig,
    scratch: Path,
    progress: Progress,
    workers: int,
) -> Ledger:
    """Take the training documents out that hold evaluation text.

    Args:
        split: folder of a split: `train`, and whatever else; all but `train` is handed on as it is.
        output: an existing, empty folder.
        items: folders with parts of documents, one item each, by the name of the evaluation set.
        config: what counts as holding it.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done.
        workers: at most so many processes; changes no byte.

    Raises:
        SourceError: when the config refuses and something was found, or when no training document is left.
    """
    index_folder = scratch / "index"
    build_index(items, config, index_folder)
    task = (config, index_folder)
    folders = run_over_parts(_clean_part, split / "train", task, scratch / "clean", workers=workers, progress=progress)
    index = load_index(index_folder)
    report = _report(index, folders, output, config)
    if config.action == "refuse" and report["documents"]:
        raise _refused(report)
    ledger = add_ledgers(folders)
    if ledger.rows_in and not ledger.rows_kept:
        raise nothing_left(ledger, "decontaminate")
    _hand_on(split, output, folders)
    gather_parts(folders, output / "train")
    gather_dropped(folders, output)
    with TableWriter(output / HITS, HIT_SCHEMA) as writer:
        for folder in folders:
            for table in tables_of(folder / HITS):
                writer.write(table)
    return _whole_ledger(split, ledger, output)


def _clean_part(task: PartTask, folder: Path, tick: Tick) -> None:
    config, index_folder = task.config
    index, ledger = load_index(index_folder), Ledger()
    counts, lost = np.zeros(len(index.names), np.int64), _Lost()
    with (
        TableWriter(folder / part_name(0)) as kept_rows,
        dropped_writer(folder) as gone,
        TableWriter(folder / HITS, HIT_SCHEMA) as hit_rows,
    ):
        for table in tables_of(task.part):
            hits = [
                hit._replace(document=first + hit.document)
                for first, some in slices_of(table.column("text"))
                for hit in find_hits(words_of(some), index, config)
            ]
            np.add.at(counts, [hit.item for hit in hits], 1)
            first_hits = {hit.document: hit for hit in reversed(hits)}
            stays = np.ones(table.num_rows, bool)
            stays[list(first_hits)] = False
            _book(ledger, table, first_hits)
            lost.add(table.filter(~stays))
            kept_rows.write(table.filter(stays))
            gone.write(_dropped(table, first_hits, index, config))
            hit_rows.write(_hits(table, hits, index))
            tick(table.num_rows)
    np.save(folder / COUNTS, counts, allow_pickle=False)
    write_json(folder / LOST, lost.to_json())
    save_ledger(folder, ledger)


def _book(ledger: Ledger, table: Any, first_hits: Mapping[int, Hit]) -> None:
    for row, length in enumerate(pc.utf8_length(table.column("text")).to_pylist()):
        if row in first_hits:
            ledger.drop(RULE.format(rule=first_hits[row].rule), length)
        else:
            ledger.keep(length)


def _dropped(table: Any, first_hits: Mapping[int, Hit], index: Index, config: DecontaminateConfig) -> Any:
    rows = sorted(first_hits)
    hits = [first_hits[row] for row in rows]
    thresholds = {"ngram": config.min_share, "similarity": config.similarity}
    return dropped_rows(
        table.take(pa.array(rows, pa.int64())),
        [RULE.format(rule=hit.rule) for hit in hits],
        value=[hit.value for hit in hits],
        threshold=[thresholds[hit.rule] for hit in hits],
        duplicate_of=["/".join(index.names[hit.item]) for hit in hits],
    )


def _hits(table: Any, hits: Sequence[Hit], index: Index) -> Any:
    """Rows of `hits.parquet`: no more than 100 for each document, because one book may hold every proverb that a set asks
    for."""
    seen = Counter[int]()
    shown = []
    for hit in hits:
        seen[hit.document] += 1
        if seen[hit.document] <= ITEMS_OF_A_DOCUMENT:
            shown.append(hit)
    ids = table.column("id").to_pylist()
    columns = [
        [ids[hit.document] for hit in shown],
        [index.names[hit.item][0] for hit in shown],
        [index.names[hit.item][1] for hit in shown],
        [hit.rule for hit in shown],
        [hit.value for hit in shown],
    ]
    return pa.table(columns, schema=HIT_SCHEMA)


class _Lost:
    """What the training side lost, for the counts beside the split."""

    def __init__(self) -> None:
        self.counts = Counter(documents=0, characters=0, bytes=0)
        self.licences, self.languages = Counter[str](), Counter[str]()

    def add(self, table: Any) -> None:
        """Count some dropped documents."""
        text = table.column("text")
        characters = pc.sum(pc.utf8_length(text)).as_py() or 0
        size = pc.sum(pc.binary_length(text.cast(pa.large_binary()))).as_py() or 0
        self.counts.update(documents=table.num_rows, characters=characters, bytes=size)
        self.licences.update(table.column("licence").to_pylist())
        self.languages.update(table.column("language").to_pylist())

    def to_json(self) -> dict[str, Any]:
        """Plain counts."""
        return {"train": self.counts, "licences": self.licences, "languages": self.languages}


def _hand_on(split: Path, output: Path, folders: Sequence[Path]) -> None:
    """All of the split but its training text and its accounts, which are written anew."""
    for path in sorted(split.iterdir()):
        if path.is_dir() and path.name not in ("train", "observed"):
            gather_parts([path], output / path.name)
        elif path.is_file() and path.name not in ("record.json", "ledger.json"):
            shutil.copyfile(path, output / path.name)
    lost = [read_json(folder / LOST) for folder in folders]
    splits, composition = read_json(split / "splits.json"), read_json(split / "composition.json")
    write_json(output / "splits.json", {**splits, "train": _less(splits["train"], [one["train"] for one in lost])})
    for key in ("licences", "languages"):
        composition[key] = {name: n for name, n in _less(composition[key], [one[key] for one in lost]).items() if n}
    write_json(output / "composition.json", composition)


def _less(counts: Mapping[str, int], lost: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return {name: count - sum(one.get(name, 0) for one in lost) for name, count in counts.items()}


def _whole_ledger(split: Path, train: Ledger, output: Path) -> Ledger:
    """The account of all sides: what is not training text is kept as it is."""
    ledger = load_ledger(split)
    whole = Ledger(
        rows_in=ledger.rows_kept,
        rows_kept=ledger.rows_kept - train.dropped.total(),
        dropped=train.dropped,
        characters_in=ledger.characters_kept,
        characters_kept=ledger.characters_kept - (train.characters_in - train.characters_kept),
    )
    whole.close(where="decontaminate")
    save_ledger(output, whole)
    return whole


def _report(index: Index, folders: Sequence[Path], output: Path, config: DecontaminateConfig) -> dict[str, Any]:
    counts: npt.NDArray[np.int64] = np.sum([np.load(f / COUNTS, allow_pickle=False) for f in folders], axis=0)
    found = np.flatnonzero(counts)
    sets: dict[str, Counter[str]] = {name: Counter(items=0, too_short=0, found=0) for name, _ in index.names}
    for item, (name, _) in enumerate(index.names):
        short = index.words_I[item] < config.min_words
        sets[name].update(items=1, too_short=int(short), found=int(counts[item] > 0))
    names = [index.names[item] for item in found.tolist()]
    rows = [[name for name, _ in names], [identity for _, identity in names], counts[found]]
    with TableWriter(output / ITEMS, ITEM_SCHEMA) as writer:
        writer.write(pa.table(rows, schema=ITEM_SCHEMA))
    most = found[np.argsort(-counts[found], kind="stable")][:SHOWN_ITEMS].tolist()
    holders = _holders(folders, {index.names[item] for item in most})
    shown = [
        {
            "set": index.names[item][0],
            "item": index.names[item][1],
            "documents": int(counts[item]),
            "in": holders[index.names[item]],
        }
        for item in most
    ]
    dropped = sum(load_ledger(folder).dropped.total() for folder in folders)
    report = {"documents": dropped, "sets": sets, "items": shown}
    write_json(output / REPORT, report)
    return report


def _holders(folders: Sequence[Path], wanted: set[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    """The first documents that hold each of some items."""
    holders: dict[tuple[str, str], list[str]] = {key: [] for key in wanted}
    for folder in folders if wanted else ():
        for table in tables_of(folder / HITS):
            for row in table.to_pylist():
                known = holders.get((row["set"], row["item"]))
                if known is not None and len(known) < SHOWN_DOCUMENTS:
                    known.append(row["document"])
    return holders


def _refused(report: Mapping[str, Any]) -> SourceError:
    named = "; ".join(f"{one['set']}/{one['item']} in {one['documents']} ({one['in'][0]})" for one in report["items"][:5])
    found = sum(one["found"] for one in report["sets"].values())
    return SourceError(
        f"{report['documents']} training documents hold evaluation text: {found} items were found",
        where=named,
        expected="training text without any of it, since `decontaminate.action` is refuse",
        fix="take those documents out of the sources, or set `action: drop`",
    )
