"""What became of a corpus, as plain data: for the data card of the bundle and for the report.

Reads what the data stages left beside their documents; computes no text again. What a recipe left out is absent here, because
"not searched" must not read like "nothing found". Holds no text of any document: dropped ones are named by id, rule, value
and threshold.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmpipe.base.files import read_json
from lmpipe.data.decontamination.decontaminating import REPORT as CONTAMINATION
from lmpipe.data.documents import columns_in, parts_of, tables_of
from lmpipe.data.dropped import DROPPED
from lmpipe.data.filters.bounds import Rule
from lmpipe.data.filters.classifier import HEADER
from lmpipe.data.reading import FAILURES, SOURCES
from lmpipe.data.statistics import bounds_of, clusters, nearest_kept, score_histograms
from lmpipe.data.tasks import LEDGER

SHOWN_SOURCES = 1000
SHOWN_DROPPED = 5
SHOWN_FAILURES = 20
SHOWN_CHARACTERS = 80


def corpus_card(name: str, folders: Mapping[str, Path], rules: Sequence[Rule] = ()) -> dict[str, Any]:
    """The account of one corpus.

    Args:
        name: of the corpus.
        folders: outputs of its data stages by kind, in the order of the run; `canaries` where there are any.
        rules: the bounds that the selection applied.

    Returns:
        `name`; `steps`: [{step, and what its ledger says}] of all that pass documents on; `sources`: [{name, licence, bytes,
        documents, characters, dropped, failed}], the largest first, at most 1,000, and `source_count`; `failures`: the first
        records that could not be read; `dropped`: {rule: [{id, value, threshold, duplicate_of}]}, a few of each; `bounds`:
        {rule: {score, at_least, at_most}}; `nearest_kept`: {rule: [{id, value}]}; `scores`: {score: {scale, edges, before,
        after}}; `duplicates`: {kind: {sizes, largest}}; `classifiers`: {filter: {auc, auc_low, auc_high, examples,
        held_out, identity}}; `pii`: {action, counts, documents, documents_by_kind}; `names`: {kinds, texts, heldout, scores} of
        the tagger; `splits`; `contamination`: {documents, sets, items}; `licences`, `languages`: {name: documents};
        `synthesis`: what `synthesis.json` says; `augmentation`: {documents: {original, augmented}, kinds}; `canaries`: {count,
        repeats}. A part is absent where its stage is.
    """
    card: dict[str, Any] = {"name": name}
    shapes = {kind: _columns(folder) for kind, folder in folders.items()}
    passing = [kind for kind, columns in shapes.items() if "text" in columns and kind != "canaries"]
    card["steps"] = [
        {"step": kind, **read_json(folders[kind] / LEDGER)} for kind in passing if (folders[kind] / LEDGER).is_file()
    ]
    if "read" in folders:
        card |= _read_facts(folders["read"])
    if "synthesize" in folders:
        card["synthesis"] = read_json(folders["synthesize"] / "synthesis.json")
    if "select" in folders:
        card |= _selection_facts(folders["select"], [folders[kind] for kind in _sidecars(shapes, scores=True)], rules)
    for kind in passing:
        if kind != "select" and (folders[kind] / DROPPED).is_file() and (shown := _dropped(folders[kind] / DROPPED)):
            card.setdefault("dropped", {}).update(shown)
    repeated = {kind: clusters(folders[kind]) for kind in _sidecars(shapes, scores=False)}
    if repeated:
        card["duplicates"] = repeated
    learned = {kind: read_json(path / HEADER) for kind, path in folders.items() if (path / HEADER).is_file()}
    if learned:
        card["classifiers"] = {kind.removeprefix("learn_"): facts for kind, facts in learned.items()}
    if "mask" in folders:
        card["pii"] = read_json(folders["mask"] / "pii.json")
    if "names" in folders:
        card["names"] = read_json(folders["names"] / "tagger.json")
    divided = [folders[kind] for kind in ("split", "decontaminate", "augment", "balance", "arrange") if kind in folders]
    if divided:  # the last of them is what is trained on
        card["splits"] = read_json(divided[-1] / "splits.json")
        card |= read_json(divided[-1] / "composition.json")
    if "decontaminate" in folders:
        card["contamination"] = read_json(folders["decontaminate"] / CONTAMINATION)
    if "augment" in folders:
        card["augmentation"] = read_json(folders["augment"] / "augmentation.json")
    if "canaries" in folders:
        facts = read_json(folders["canaries"] / "canaries.json")
        card["canaries"] = {"count": facts["count"], "repeats": facts["repeats"]}
    return card


def _columns(folder: Path) -> list[str]:
    """The columns of a stage's first part, those of a side counted as its own; none where there is no part."""
    part = next(iter(parts_of(folder) or sorted(folder.glob("*/part-*.parquet"))), None)
    return columns_in(part) if part else []


def _sidecars(shapes: Mapping[str, list[str]], *, scores: bool) -> list[str]:
    """Kinds of stages that left notes beside the documents: scores, or what repeats what."""
    beside = [kind for kind, columns in shapes.items() if "id" in columns and "text" not in columns]
    return [kind for kind in beside if ("duplicate_of" not in shapes[kind]) == scores]


def _selection_facts(select: Path, measures: Sequence[Path], rules: Sequence[Rule]) -> dict[str, Any]:
    """What each rule dropped, what it nearly dropped, and the scores before and after."""
    dropped = select / DROPPED
    facts: dict[str, Any] = {"dropped": _dropped(dropped)}
    if measures:
        facts["scores"] = {k: v for folder in measures for k, v in score_histograms(folder, dropped).items()}
    if rules:
        facts["bounds"] = bounds_of(rules)
        facts["nearest_kept"] = {k: v for folder in measures for k, v in nearest_kept(folder, dropped, rules).items()}
    return facts


def _read_facts(folder: Path) -> dict[str, Any]:
    """Sources and failures. A corpus may have a million files, so the list is pruned while it is read."""
    sources: list[dict[str, Any]] = []
    count = 0
    with (folder / SOURCES).open(encoding="utf-8") as lines:
        for line in lines:
            sources.append(json.loads(line))
            count += 1
            if len(sources) > 2 * SHOWN_SOURCES:
                sources = _largest(sources)
    with (folder / FAILURES).open(encoding="utf-8") as lines:
        failures = [json.loads(line) for line, _ in zip(lines, range(SHOWN_FAILURES), strict=False)]
    return {"sources": _largest(sources), "source_count": count, "failures": failures}


def _largest(sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(sources, key=lambda source: (-source["characters"], source["name"]))[:SHOWN_SOURCES]


def _dropped(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The first few documents that each rule dropped."""
    shown: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for table in tables_of(path):
        for row in table.to_pylist():
            examples = shown[row["rule"]]
            if len(examples) < SHOWN_DROPPED:
                examples.append({key: _short(row.get(key)) for key in ("id", "value", "threshold", "duplicate_of")})
    return dict(sorted(shown.items()))


def _short(value: Any) -> Any:
    """Ids may hold what a file gave as an id; no more of it is shown than fits a line."""
    return value[:SHOWN_CHARACTERS] if isinstance(value, str) else value
