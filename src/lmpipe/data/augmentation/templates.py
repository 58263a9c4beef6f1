"""A user's templates filled from documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random

from lmpipe.base.templates import fill, slots_of
from lmpipe.data.augmentation.config import DOCUMENT_SLOTS, META_PREFIX, TemplatesConfig
from lmpipe.data.augmentation.facts import NO_VALUE, NotMade
from lmpipe.data.documents import Document


def fill_from(config: TemplatesConfig, document: Document, stream: Random) -> str | NotMade:
    """One of the templates with its slots filled, where the document has a value for each."""
    template = stream.choice(config.templates)
    drawn = {name: stream.choice(values) for name, values in sorted(config.slots.items())}
    values = {**slot_values(document, slots_of(template)), **drawn}
    return fill(template, values) if values.keys() >= set(slots_of(template)) else NO_VALUE


def slot_values(document: Document, slots: Sequence[str]) -> dict[str, str]:
    """The document's own values for those slots that it can fill."""
    values = {slot: str(getattr(document, slot)) for slot in slots if slot in DOCUMENT_SLOTS}
    return values | meta_values(document, slots, META_PREFIX)


def meta_values(document: Document, slots: Sequence[str], prefix: str) -> dict[str, str]:
    """What the metadata has for slots that begin with `prefix`."""
    wanted = [slot for slot in slots if slot.startswith(prefix)]
    meta = json.loads(document.meta or "{}") if wanted else {}
    found = ((slot, meta.get(slot.removeprefix(prefix))) for slot in wanted)
    return {slot: str(value) for slot, value in found if value is not None}
