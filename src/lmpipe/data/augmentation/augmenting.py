"""Training text to more training text: the `augment` stage, after the split.

    train/part-*.parquet       --> train/part-*.parquet     every document, each followed by what was made from it
    validation/ test/          --> the same bytes: nothing is ever made from or for them
                              `--> splits.json, composition.json    as the split's, with the new documents counted
                              `--> augmentation.json        {documents: {original, augmented}, kinds: {kind: {parents,
                                                            documents, characters, not_made: {reason: n}, usage?}}}
                              `--> ledger.json              documents of all sides are kept, new ones added, by kind

A new document has the id of its parent with `+kind.copy` after it (so a parent's group is its group, too), the parent's
source, licence and language, and in its metadata `augmented_by` and `parent`. Promises: which documents get copies and what is
in these depends on (seed, kind, parent's id and text, a generator's answers) alone, never on order, number or workers; no copy
equals its parent or a sibling.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.base.errors import SourceError
from lmpipe.base.files import read_json, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.base.templates import slots_of
from lmpipe.data.augmentation.chance import is_chosen, stream_of
from lmpipe.data.augmentation.config import DOCUMENT_SLOTS, META_PREFIX, AugmentConfig, TemplatesConfig, generator_of
from lmpipe.data.augmentation.facts import REPEATED, UNCHANGED, Facts, NotMade
from lmpipe.data.augmentation.making import Maker, maker_of
from lmpipe.data.augmentation.words import Synonyms
from lmpipe.data.documents import SCHEMA, Document, PartWriter, tables_of
from lmpipe.data.generation.asking import Asker, account
from lmpipe.data.parts import PartTask, run_over_parts
from lmpipe.data.tasks import Tick, gather_parts, save_ledger

FACTS = "augmentation.json"


def augment(
    splits: Path,
    output: Path,
    *,
    config: Sequence[AugmentConfig],
    seed: int,
    synonyms: Synonyms,
    askers: Mapping[str, Asker],
    scratch: Path,
    progress: Progress,
    workers: int,
) -> Ledger:
    """Add documents to the training side.

    Args:
        splits: folder with `train/`, `validation/`, `test/`, and the accounts that a split leaves beside them.
        output: an existing, empty folder.
        config: the kinds; each works on the original documents.
        seed: of all random streams.
        synonyms: for the kind `eda`.
        askers: by kind, for those whose copies a generator writes.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done.
        workers: at most so many processes; changes no byte. Where a generator is asked, it is asked from this process alone.

    Raises:
        SourceError: when no document could fill a template.
        LmpipeError: from a generator; what was answered is kept.
    """
    task = _Plan(tuple(config), seed, synonyms)
    function = _Asking(askers) if askers else _augment_part
    options: dict[str, Any] = {"workers": 1 if askers else workers, "progress": progress}
    folders = run_over_parts(function, splits / "train", task, scratch / "augment", **options)
    total = Facts()
    for folder in folders:
        total.add(read_json(folder / FACTS))
    for part in config:
        if isinstance(part, TemplatesConfig) and total.only_lacked_values(part.kind):
            raise _no_values(part, total)
    gather_parts(folders, output / "train")
    for side in ("validation", "test"):
        gather_parts([splits / side], output / side)
    write_json(output / FACTS, _summary(total, config, askers))
    return _account(splits, output, total)


@dataclass(frozen=True)
class _Plan:
    config: tuple[AugmentConfig, ...]
    seed: int
    synonyms: Synonyms


def _augment_part(task: PartTask, folder: Path, tick: Tick) -> None:
    """Kinds that follow rules: anywhere."""
    _work(task, folder, tick, {})


@dataclass(frozen=True)
class _Asking:
    """The same with generators, which cannot leave this process."""

    askers: Mapping[str, Asker]

    def __call__(self, task: PartTask, folder: Path, tick: Tick) -> None:
        _work(task, folder, tick, self.askers)


def _work(task: PartTask, folder: Path, tick: Tick, askers: Mapping[str, Asker]) -> None:
    plan: _Plan = task.config
    makers = [(part, maker_of(part, plan.seed, plan.synonyms, askers)) for part in plan.config]
    facts = Facts()
    with PartWriter(folder) as writer:
        for table in tables_of(task.part, SCHEMA.names):
            documents = [Document._make(row) for row in zip(*(c.to_pylist() for c in table.columns), strict=True)]
            for part, make in makers:
                make.prepare([d for d in documents if is_chosen(plan.seed, part.kind, d.id, part.share)], facts)
            for document in documents:
                writer.add(document)
                facts.original += 1
                for part, make in makers:
                    if is_chosen(plan.seed, part.kind, document.id, part.share):
                        for copy in _copies(document, part, make, plan.seed, facts):
                            writer.add(copy)
            tick(table.num_rows)
    write_json(folder / FACTS, facts.to_json())


def _copies(parent: Document, part: AugmentConfig, make: Maker, seed: int, facts: Facts) -> list[Document]:
    made: list[Document] = []
    seen = {parent.text: UNCHANGED}
    for copy in range(part.copies):
        text = make(parent, copy, stream_of(seed, part.kind, parent.id, copy))
        refusal = text if isinstance(text, NotMade) else seen.get(text)
        if isinstance(text, NotMade) or refusal:
            facts.refuse(part.kind, parent, refusal or UNCHANGED)
            continue
        seen[text] = REPEATED
        made.append(derived(parent, text, part.kind, copy))
    facts.book(part.kind, made)
    return made


def derived(parent: Document, text: str, kind: str, copy: int) -> Document:
    """A new document that says what it was made from and how."""
    meta = {**json.loads(parent.meta or "{}"), "augmented_by": kind, "parent": parent.id}
    spelled = json.dumps(meta, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return parent._replace(id=f"{parent.id}+{kind}.{copy}", text=text, meta=spelled)


def _no_values(part: TemplatesConfig, total: Facts) -> SourceError:
    """No document could fill any template: a misspelled key rather than a few documents without it."""
    keys = [f"{META_PREFIX}{key}" for key, _ in total.keys.most_common(20)]
    wanted = [slot for template in part.templates for slot in slots_of(template) if slot.startswith(META_PREFIX)]
    close = [(slot, difflib.get_close_matches(slot, keys, n=1, cutoff=0.5)) for slot in dict.fromkeys(wanted)]
    nearest = ", ".join(f"{{{slot}}}: did you mean {{{found[0]}}}?" for slot, found in close if found and slot != found[0])
    return SourceError(
        "no template of `augment` could be filled: no chosen document has a value for its slots",
        where=nearest or ", ".join(f"{{{slot}}}" for slot in dict.fromkeys(wanted)),
        expected="slots among: " + ", ".join([*DOCUMENT_SLOTS, *keys]),
        fix="correct the slot, or keep that column of the source by `meta_columns`",
    )


def _account(splits: Path, output: Path, total: Facts) -> Ledger:
    """Write what the split wrote, with the new documents in it."""
    sides, composition = read_json(splits / "splits.json"), read_json(splits / "composition.json")
    ledger = Ledger()
    for counts in sides.values():
        ledger.rows_in += counts["documents"]
        ledger.rows_kept += counts["documents"]
        ledger.characters_in += counts["characters"]
        ledger.characters_kept += counts["characters"]
    for kind, made in total.kinds.items():
        if made["documents"]:
            ledger.make(kind, made["characters"], made["documents"])
    for what in ("documents", "characters", "bytes"):
        sides["train"][what] += total.made(what)
    for key, new in (("licences", total.licences), ("languages", total.languages)):
        composition[key] = dict(sorted((Counter(composition[key]) + new).items()))
    write_json(output / "splits.json", sides)
    write_json(output / "composition.json", composition)
    ledger.close(where="augment")
    save_ledger(output, ledger)
    return ledger


def _summary(total: Facts, config: Sequence[AugmentConfig], askers: Mapping[str, Asker]) -> dict[str, Any]:
    kinds = {part.kind: _of_kind(total, part, askers) for part in config}
    return {"documents": {"original": total.original, "augmented": total.made("documents")}, "kinds": kinds}


def _of_kind(total: Facts, part: AugmentConfig, askers: Mapping[str, Asker]) -> dict[str, Any]:
    counts = total.kinds.get(part.kind, Counter())
    facts: dict[str, Any] = {what: counts[what] for what in ("parents", "documents", "characters")}
    facts["not_made"] = dict(sorted(total.not_made.get(part.kind, Counter()).items()))
    generator = generator_of(part)
    if generator is not None:
        price = getattr(generator, "price", None)
        facts["usage"] = account(total.usage_of(part.kind), askers[part.kind].generator.identity, price)
    return facts
