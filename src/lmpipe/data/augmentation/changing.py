"""Test text changed as people and machines change text, for robustness: every document of one side once, under its own id.

    split/train, validation --> the same bytes
    split/test              --> every text as keyboard, ocr, case, punctuation or eda leaves it    changes.json   how many

What becomes of a document depends on (seed, kind, id, text) alone, as in augmentation. Answers stay what they were.
"""

from __future__ import annotations

from pathlib import Path

from lmpipe.base.files import write_json
from lmpipe.data.augmentation.chance import stream_of
from lmpipe.data.augmentation.config import (
    AugmentConfig,
    CaseConfig,
    EdaConfig,
    KeyboardConfig,
    OcrConfig,
    PunctuationConfig,
)
from lmpipe.data.augmentation.facts import NotMade
from lmpipe.data.augmentation.making import maker_of
from lmpipe.data.documents import PartWriter, read_documents
from lmpipe.data.splitting.config import SPLITS
from lmpipe.data.tasks import gather_parts

CHANGES: dict[str, AugmentConfig] = {
    "keyboard": KeyboardConfig(),
    "ocr": OcrConfig(),
    "case": CaseConfig(),
    "punctuation": PunctuationConfig(),
    "eda": EdaConfig(),
}
"""By name, as augmentation makes them by default."""


def change(splits: Path, output: Path, *, side: str, kind: str, seed: int) -> dict[str, int]:
    """Write a division whose `side` is changed.

    Args:
        splits: folder of a division.
        output: an existing, empty folder.
        side: `test` or `validation`.
        kind: one of `CHANGES`.
        seed: of the recipe.

    Returns:
        What stands in `changes.json`: how many documents there are, and how many the change left as they were.
    """
    for other in SPLITS:
        if other != side:
            gather_parts([splits / other], output / other)
    make, facts = maker_of(CHANGES[kind], seed, {}, {}), {"documents": 0, "unchanged": 0}
    with PartWriter(output / side) as writer:
        for document in read_documents(splits / side):
            text = make(document, 0, stream_of(seed, kind, document.id, 0))
            facts["documents"] += 1
            facts["unchanged"] += isinstance(text, NotMade) or text == document.text
            writer.add(document if isinstance(text, NotMade) else document._replace(text=text))
    write_json(output / "changes.json", {"kind": kind, "side": side, **facts})
    return facts
