"""The layout of sentence-transformers beside a model's own files: how hidden states become one vector of length 1.

    modules.json                    the steps: the encoder (this folder), pooling, length 1
    1_Pooling/config.json           the mean over a text's positions, or its first position
    sentence_bert_config.json       tokens of the longest text

Knows no tensor library and no family.
"""

from __future__ import annotations

from pathlib import Path

from lmpipe.base.files import read_json, write_json
from lmpipe.models.heads import Pooling

MODULES, POOLING, LENGTHS = "modules.json", "1_Pooling/config.json", "sentence_bert_config.json"
FILES = (MODULES, POOLING, LENGTHS)
MODES: dict[Pooling, str] = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
STEPS = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
"""What is done one after the other: the step's folder, and its class; the last one has no file."""


def write_sentence_files(folder: Path, *, pooling: Pooling, width: int, context: int) -> None:
    """Write the three files into an existing folder."""
    steps = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{step}"}
        for number, (path, step) in enumerate(STEPS.items())
    ]
    write_json(folder / MODULES, steps)
    (folder / POOLING).parent.mkdir(exist_ok=True)
    modes = {name: mode == pooling for mode, name in MODES.items()}
    write_json(folder / POOLING, {"word_embedding_dimension": width, **modes})
    write_json(folder / LENGTHS, {"max_seq_length": context, "do_lower_case": False})


def pooling_of(folder: Path) -> Pooling | None:
    """How a folder says that vectors are made; None where it does not, or in a way that there is not here."""
    if not (folder / POOLING).is_file():
        return None
    value = read_json(folder / POOLING)
    asked = [name for name, wanted in value.items() if name.startswith("pooling_mode_") and wanted is True]
    return next((mode for mode, name in MODES.items() if asked == [name]), None)
