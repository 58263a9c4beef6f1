"""Personal data taken out of documents: the `mask` stage.

part-*.parquet --> part-*.parquet     text and metadata with `<EMAIL>` or a pseudonym, or fewer documents, or counts in `meta`
              `--> pii.json           {action, counts: {kind: n}, documents, documents_by_kind: {kind: n}}: never a value
              `--> ledger.json

Strings in the metadata are treated like the text. Ids are not: they must stay what they are through all steps.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.base.files import read_json, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.documents import TableWriter, part_name, tables_of, with_column
from lmpipe.data.parts import PartTask, finish, run_over_parts
from lmpipe.data.pii.config import MaskConfig
from lmpipe.data.pii.find import Span, find
from lmpipe.data.pii.pseudonyms import Pseudonyms
from lmpipe.data.rescuing import RescueRows
from lmpipe.data.tasks import Tick, save_ledger

FACTS = "pii.json"
REASON = "personal data"
NO_META = "{}"
Namer = Callable[[Span, str], str]
"""What stands in the place of a value: takes the span and the value."""


@dataclass(frozen=True, repr=False)
class Masking:
    """The config, and the key where pseudonyms are made. Not shown anywhere: it travels to workers and is forgotten."""

    config: MaskConfig
    key: bytes | None = None

    def find(self, text: str) -> list[Span]:
        """What is to be acted on in one text."""
        return find(text, self.config.entities, public_ips_only=self.config.public_ips_only)

    def namer(self) -> Namer:
        """What takes a value's place."""
        if self.key is None:
            return placeholder
        pseudonyms = Pseudonyms(self.key)
        return lambda span, value: pseudonyms.name(span.kind, value)


def mask(
    documents: Path,
    output: Path,
    *,
    config: MaskConfig,
    scratch: Path,
    progress: Progress,
    workers: int,
    key: bytes | None = None,
) -> Ledger:
    """Find personal data in every document, and act.

    Args:
        documents: folder with parts of documents.
        output: an existing, empty folder.
        config: what is looked for and what is done about it.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done.
        workers: at most so many processes; changes no byte.
        key: of the pseudonyms; None where none are made.

    Raises:
        SourceError: when every document was dropped.
    """
    masking = Masking(config, key if config.action == "pseudonym" else None)
    folders = run_over_parts(
        _mask_part, documents, masking, scratch / "mask", workers=workers, progress=progress, rescue=RescueRows()
    )
    ledger = finish(folders, output, "mask")
    counts = Found()
    for folder in folders:
        counts.merge(read_json(folder / FACTS))
    write_json(output / FACTS, counts.facts(config))
    return ledger


def placeholder(span: Span, value: str) -> str:
    """What `mask` puts in a value's place: its kind."""
    return f"<{span.kind.upper()}>"


def masked(text: str, spans: Sequence[Span], namer: Namer = placeholder) -> str:
    """`text` with something else in the place of every span.

    >>> masked("mail me@example.org", [Span(5, 19, "email")])
    'mail <EMAIL>'
    """
    parts, end = [], 0
    for span in spans:
        parts += [text[end : span.start], namer(span, text[span.start : span.end])]
        end = span.end
    return "".join([*parts, text[end:]])


class Found:
    """How much was found: values by kind, documents by kind, documents at all."""

    def __init__(self) -> None:
        self.counts, self.documents_by_kind, self.documents = Counter[str](), Counter[str](), 0

    def add(self, kinds: Counter[str]) -> None:
        """Book one document."""
        self.counts.update(kinds)
        self.documents_by_kind.update(kinds.keys())
        self.documents += bool(kinds)

    def merge(self, facts: dict[str, Any]) -> None:
        """Add what another part found."""
        self.counts.update(facts["counts"])
        self.documents_by_kind.update(facts["documents_by_kind"])
        self.documents += facts["documents"]

    def facts(self, config: MaskConfig) -> dict[str, Any]:
        """For `pii.json`; what was looked for and not found counts 0."""
        kinds = sorted(config.entities)
        return {
            "action": config.action,
            "counts": {kind: self.counts[kind] for kind in kinds},
            "documents": self.documents,
            "documents_by_kind": {kind: self.documents_by_kind[kind] for kind in kinds},
        }


def _mask_part(task: PartTask, folder: Path, tick: Tick) -> None:
    masking, ledger, found = task.config, Ledger(), Found()
    with TableWriter(folder / part_name(0)) as writer:
        for table in tables_of(task.part):
            writer.write(_acted(table, masking, ledger, found))
            tick(table.num_rows)
    write_json(folder / FACTS, found.facts(masking.config))
    save_ledger(folder, ledger)


def _acted(table: Any, masking: Masking, ledger: Ledger, found: Found) -> Any:
    """The table as the action leaves it; every row is booked."""
    action, namer = masking.config.action, masking.namer()
    texts, metas, stays = [], [], []
    for text, meta in zip(table.column("text").to_pylist(), table.column("meta").to_pylist(), strict=True):
        spans = masking.find(text)
        clean_meta, meta_kinds = _masked_meta(meta, masking, namer)
        kinds = Counter(span.kind for span in spans) + meta_kinds
        found.add(kinds)
        if kinds and action == "drop":
            ledger.drop(REASON, len(text))
        else:
            clean = masked(text, spans, namer) if action in ("mask", "pseudonym") else text
            ledger.keep(len(text), len(clean))
            texts.append(clean)
            metas.append(_tagged(meta, kinds) if action == "tag" else clean_meta)
        stays.append(not (kinds and action == "drop"))
    left = table if all(stays) else table.filter(stays)
    return with_column(with_column(left, "text", texts), "meta", metas)


def _masked_meta(meta: str, masking: Masking, namer: Namer) -> tuple[str, Counter[str]]:
    """The metadata with its strings masked, and what was found in them."""
    if meta == NO_META:
        return meta, Counter()
    kinds = Counter[str]()

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            spans = masking.find(value)
            kinds.update(span.kind for span in spans)
            return masked(value, spans, namer)
        if isinstance(value, dict):
            return {key: clean(inner) for key, inner in value.items()}
        return [clean(inner) for inner in value] if isinstance(value, list) else value

    cleaned = clean(json.loads(meta))
    return (_json(cleaned) if kinds else meta), kinds


def _tagged(meta: str, kinds: Counter[str]) -> str:
    return _json({**json.loads(meta), "pii": dict(sorted(kinds.items()))}) if kinds else meta


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
