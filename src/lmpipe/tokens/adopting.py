"""The tokenizer of a model that is gone on from: its files, and what a bundle needs besides."""

from __future__ import annotations

import shutil
from pathlib import Path

from lmpipe.base.errors import ModelError
from lmpipe.base.files import atomic_file, storing, write_json
from lmpipe.tokens.chat import PLAIN_TEMPLATE
from lmpipe.tokens.tokenizer import Tokenizer, load_tokenizer

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def adopt_tokenizer(source: Path, output: Path, *, known_ids: int) -> Tokenizer:
    """Copy the tokenizer's files from a model folder, and load it.

    Where its roles are said nowhere, they are written down as they were found; where it has no chat template, the one for base
    models is put beside it.

    Args:
        source: the model's folder.
        output: an existing folder.
        known_ids: how many ids the model beside it knows.

    Raises:
        ModelError: when it cannot be loaded, or has ids that the model does not know.
    """
    with storing(output):
        for name in FILES:
            if (source / name).is_file():
                shutil.copyfile(source / name, output / name)
    tokenizer = load_tokenizer(output)
    if tokenizer.vocab_size > known_ids:
        raise ModelError(
            f"the tokenizer has {tokenizer.vocab_size:,} ids, and the model beside it knows {known_ids:,}",
            where=str(source),
            expected="the tokenizer that the model was trained with",
            fix="put the model's own tokenizer.json into the folder",
        )
    if not (output / FILES[1]).is_file():
        write_json(output / FILES[1], {"tokenizer_class": "PreTrainedTokenizerFast", **tokenizer.template_names})
    if not tokenizer.chat_template:
        with atomic_file(output / FILES[3], "w", encoding="utf-8") as file:
            file.write(PLAIN_TEMPLATE)
    return tokenizer
