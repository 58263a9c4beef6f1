"""Personal data taken out of documents: the `mask` stage.

part-*.parquet --> part-*.parquet     text with `<EMAIL>` and the like, or fewer documents, or counts in `meta`
              `--> pii.json           {action, counts: {kind: n}, documents}: never a value
              `--> ledger.json
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmpipe.base.files import read_json, write_json
from lmpipe.base.ledger import Ledger
from lmpipe.base.progress import Progress
from lmpipe.data.documents import TableWriter, part_name, tables_of, with_column
from lmpipe.data.parts import PartTask, finish, run_over_parts
from lmpipe.data.pii.config import PiiConfig
from lmpipe.data.pii.find import Span, find
from lmpipe.data.tasks import Tick, save_ledger

FACTS = "pii.json"
REASON = "personal data"


def mask(documents: Path, output: Path, *, config: PiiConfig, scratch: Path, progress: Progress, workers: int) -> Ledger:
    """Find personal data in every document, and act.

    Args:
        documents: folder with parts of documents.
        output: an existing, empty folder.
        config: what is looked for and what is done about it.
        scratch: survives a kill; what is done is not done again.
        progress: told documents done.
        workers: at most so many processes; changes no byte.

    Raises:
        SourceError: when every document was dropped.
    """
    folders = run_over_parts(_mask_part, documents, config, scratch / "mask", workers=workers, progress=progress)
    ledger = finish(folders, output, "mask")
    counts, touched = Counter[str](), 0
    for facts in (read_json(folder / FACTS) for folder in folders):
        counts.update(facts["counts"])
        touched += facts["documents"]
    write_json(output / FACTS, _facts(config, counts, touched))
    return ledger


def masked(text: str, spans: Sequence[Span]) -> str:
    """`text` with a placeholder in the place of every span.

    >>> masked("mail me@example.org", [Span(5, 19, "email")])
    'mail <EMAIL>'
    """
    parts, end = [], 0
    for span in spans:
        parts += [text[end : span.start], f"<{span.kind.upper()}>"]
        end = span.end
    return "".join([*parts, text[end:]])


def _mask_part(task: PartTask, folder: Path, tick: Tick) -> None:
    config, ledger = task.config, Ledger()
    counts, touched = Counter[str](), 0
    with TableWriter(folder / part_name(0)) as writer:
        for table in tables_of(task.part):
            texts = table.column("text").to_pylist()
            found = [find(text, config.entities, public_ips_only=config.public_ips_only) for text in texts]
            counts.update(span.kind for spans in found for span in spans)
            touched += sum(map(bool, found))
            writer.write(_acted(table, texts, found, config, ledger))
            tick(table.num_rows)
    write_json(folder / FACTS, _facts(config, counts, touched))
    save_ledger(folder, ledger)


def _acted(table: Any, texts: Sequence[str], found: Sequence[Sequence[Span]], config: PiiConfig, ledger: Ledger) -> Any:
    """The table as the action leaves it; every row is booked."""
    changed = list(texts)
    for row, (text, spans) in enumerate(zip(texts, found, strict=True)):
        if spans and config.action == "drop":
            ledger.drop(REASON, len(text))
            continue
        if spans and config.action == "mask":
            changed[row] = masked(text, spans)
        ledger.keep(len(text), len(changed[row]))
    if config.action == "mask":
        return with_column(table, "text", changed)
    if config.action == "drop":
        return table.filter([not spans for spans in found])
    tagged = [_tagged(meta, spans) for meta, spans in zip(table.column("meta").to_pylist(), found, strict=True)]
    return with_column(table, "meta", tagged)


def _tagged(meta: str, spans: Sequence[Span]) -> str:
    if not spans:
        return meta
    counts = dict(sorted(Counter(span.kind for span in spans).items()))
    return json.dumps({**json.loads(meta), "pii": counts}, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _facts(config: PiiConfig, counts: Counter[str], touched: int) -> dict[str, Any]:
    return {"action": config.action, "counts": {kind: counts[kind] for kind in sorted(config.entities)}, "documents": touched}
