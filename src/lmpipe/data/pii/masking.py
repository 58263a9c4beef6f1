"""Personal data taken out of documents: the `mask` stage.

part-*.parquet --> part-*.parquet     text and metadata with `<EMAIL>` or a pseudonym, or fewer documents, or counts in `meta`
              `--> pii.json           {action, counts: {kind: n}, documents, documents_by_kind: {kind: n}}: never a value
              `--> dropped.parquet    with `drop`: id, source, rule (`pii.email`), value (how many places), threshold (0)
              `--> ledger.json

Strings in the metadata are searched for patterns, not for names: a tagger knows sentences, and a lone `3` or `Paris` is none.
Ids stay what they are through all steps.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmpipe.base.files import read_json, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.documents import TableWriter, part_name, tables_of, with_column
from lmpipe.data.dropped import dropped_rows, dropped_writer, gather_dropped
from lmpipe.data.parts import PartTask, finish, run_over_parts
from lmpipe.data.pii.config import MaskConfig
from lmpipe.data.pii.find import ORDER, Span, find, joined
from lmpipe.data.pii.presidio import Presidio
from lmpipe.data.pii.pseudonyms import Pseudonyms
from lmpipe.data.pii.tagger import load_tagger
from lmpipe.data.rescuing import RescueRows
from lmpipe.data.tasks import Tick, save_ledger

FACTS = "pii.json"
RULE = "pii.{}"
"""Drops are booked by the most certain kind that was found."""
NO_META = "{}"
Namer = Callable[[Span, str], str]
"""What stands in the place of a value: takes the span and the value."""
Finder = Callable[[Sequence[str]], list[list[Span]]]
"""What finds spans in several texts at once."""


@dataclass(frozen=True, repr=False)
class Masking:
    """The config, the key where pseudonyms are made, the tagger's folder or the engine where names are found. Not shown
    anywhere: it travels to workers and is forgotten."""

    config: MaskConfig
    key: bytes | None = None
    names: Path | Presidio | None = None

    def patterns(self, texts: Sequence[str]) -> list[list[Span]]:
        """What follows a pattern, by text."""
        entities, public_ips_only = self.config.entities, self.config.public_ips_only
        return [find(text, entities, public_ips_only=public_ips_only) for text in texts]

    def finder(self) -> Finder:
        """What finds all that is to be acted on."""
        namer = self.names.load() if isinstance(self.names, Presidio) else load_tagger(self.names) if self.names else None

        def find_all(texts: Sequence[str]) -> list[list[Span]]:
            found = self.patterns(texts)
            if namer is None:
                return found
            named = namer.find(texts)
            return [joined(spans, (Span(*name) for name in names)) for spans, names in zip(found, named, strict=True)]

        return find_all

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
    names: Path | Presidio | None = None,
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
        names: folder with a tagger of names and addresses, or an engine; None where none are looked for.

    Raises:
        SourceError: when every document was dropped.
    """
    masking = Masking(config, key if config.action == "pseudonym" else None, names)
    folders = run_over_parts(
        _mask_part, documents, masking, scratch / "mask", workers=workers, progress=progress, rescue=RescueRows()
    )
    ledger = finish(folders, output, "mask")
    counts = Found()
    for folder in folders:
        counts.merge(read_json(folder / FACTS))
    write_json(output / FACTS, counts.facts(config))
    if config.action == "drop":
        gather_dropped(folders, output)
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
    finder = masking.finder()
    with TableWriter(folder / part_name(0)) as writer, dropped_writer(folder) as dropped:
        for table in tables_of(task.part):
            kinds, left = _acted(table, masking, finder, ledger)
            for one in kinds:
                found.add(one)
            writer.write(left)
            if masking.config.action == "drop":
                dropped.write(_dropped(table, kinds))
            tick(table.num_rows)
    write_json(folder / FACTS, found.facts(masking.config))
    save_ledger(folder, ledger)


def _acted(table: Any, masking: Masking, finder: Finder, ledger: Ledger) -> tuple[list[Counter[str]], Any]:
    """How much of each kind every row holds, and the table as the action leaves it; every row is booked."""
    action, namer = masking.config.action, masking.namer()
    texts, metas = table.column("text").to_pylist(), table.column("meta").to_pylist()
    found, new_texts, new_metas, stays = [], [], [], []
    for text, meta, spans, (clean_meta, meta_kinds) in zip(
        texts, metas, finder(texts), _masked_metas(metas, masking.patterns, namer), strict=True
    ):
        kinds = Counter(span.kind for span in spans) + meta_kinds
        found.append(kinds)
        stays.append(not (kinds and action == "drop"))
        if not stays[-1]:
            ledger.drop(_rule(kinds), len(text))
            continue
        clean = masked(text, spans, namer) if action in ("mask", "pseudonym") else text
        ledger.keep(len(text), len(clean))
        new_texts.append(clean)
        new_metas.append(_tagged(meta, kinds) if action == "tag" else clean_meta)
    left = table if all(stays) else table.filter(stays)
    return found, with_column(with_column(left, "text", new_texts), "meta", new_metas)


def _rule(kinds: Counter[str]) -> str:
    return RULE.format(min(kinds, key=lambda kind: (ORDER.get(kind, len(ORDER)), kind)))


def _dropped(table: Any, found: Sequence[Counter[str]]) -> Any:
    """One row for each document that was taken out."""
    some = [kinds for kinds in found if kinds]
    values = [float(kinds.total()) for kinds in some]
    return dropped_rows(table.filter([bool(kinds) for kinds in found]), list(map(_rule, some)), value=values, threshold=0.0)


def _masked_metas(metas: Sequence[str], finder: Finder, namer: Namer) -> list[tuple[str, Counter[str]]]:
    """Each metadata with its strings masked, and what was found in them; all strings are searched at once."""
    values = [None if meta == NO_META else json.loads(meta) for meta in metas]
    strings = [list(_strings(value)) for value in values]
    spans = iter(finder([string for inside in strings for string in inside]))
    cleaned = []
    for meta, value, inside in zip(metas, values, strings, strict=True):
        found = [next(spans) for _ in inside]
        kinds = Counter[str](span.kind for one in found for span in one)
        clean = iter([masked(string, one, namer) for string, one in zip(inside, found, strict=True)])
        cleaned.append((_json(_with_strings(value, clean)) if kinds else meta, kinds))
    return cleaned


def _strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, in its order; keys are no values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _with_strings(value: Any, strings: Iterator[str]) -> Any:
    """The value with its strings replaced, in the same order."""
    if isinstance(value, str):
        return next(strings)
    if isinstance(value, dict):
        return {key: _with_strings(inner, strings) for key, inner in value.items()}
    return [_with_strings(inner, strings) for inner in value] if isinstance(value, list) else value


def _tagged(meta: str, kinds: Counter[str]) -> str:
    return _json({**json.loads(meta), "pii": dict(sorted(kinds.items()))}) if kinds else meta


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
