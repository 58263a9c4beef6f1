"""`model: {from: bundle}`: a recipe that goes on from a bundle takes its architecture and its tokenizer from there.

    model: {from: bundles/base, dropout: 0.1}   ->   model: {what the bundle's recipe says, dropout: 0.1}
                                                     tokenizer: {kind: pretrained, vocab_size: the bundle's}
                                                     start_from: bundles/base

Reads the bundle's record.json and config.json only, so `check` and `plan` stay fast. The bundle enters an identity by the
digests of its files, never by its path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lmpipe.base.canonical import digest_of_file
from lmpipe.base.errors import RecipeError, SourceError
from lmpipe.base.files import read_json
from lmpipe.pipeline.stage import Source as StageSource
from lmpipe.recipes.reading import Source

WEIGHTS = ("config.json", "generation_config.json", "model.safetensors")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
SIZES = ("size", "parameters", "for_vocabulary")
"""How large a model was asked to be: its recorded shape says it already."""


def continue_from(source: Source, folders: Sequence[Path]) -> Source:
    """The recipe with what its `model: {from: ...}` stands for; unchanged where it has none.

    Raises:
        RecipeError: when a tokenizer is described, too, or the bundle was not made by a recipe.
        SourceError: when there is no bundle.
    """
    model = source.data.get("model")
    if not isinstance(model, dict) or "from" not in model:
        return source
    if "tokenizer" in source.data:
        raise RecipeError(
            "a model that goes on from a bundle has its tokenizer already",
            where="tokenizer",
            expected="none beside `model: {from: ...}`: its weights know no other ids",
            fix="remove tokenizer",
        )
    start, changes = str(model["from"]), {key: value for key, value in model.items() if key != "from"}
    folder = bundle_folder(start, folders)
    recorded = _recorded_model(folder)
    vocab_size = read_json(folder / "config.json").get("vocab_size")
    data = {
        **source.data,
        "model": {**recorded, **changes},
        "tokenizer": {"kind": "pretrained", "vocab_size": vocab_size},
        "start_from": start,
    }
    return replace(source, data=data)


def bundle_folder(start: str, folders: Sequence[Path]) -> Path:
    """Where the bundle lies, seen from any of `folders`.

    Raises:
        SourceError: when there is none.
    """
    for folder in folders:
        if (folder / start / "config.json").is_file():
            return folder / start
    raise SourceError(
        f"there is no bundle '{start}'",
        where="model.from",
        expected="a folder that a run of lmpipe wrote",
        fix="check the path",
    )


def files_of(folder: Path) -> list[StageSource]:
    """What a run needs of the bundle, each file by its name and digest.

    Raises:
        SourceError: when one is missing.
    """
    found = []
    for name in (*WEIGHTS, *TOKENIZER):
        path = folder / name
        if not path.is_file():
            raise SourceError(f"the bundle has no {name}", where=str(folder), expected=", ".join((*WEIGHTS, *TOKENIZER)))
        stat = path.stat()
        digest = partial(digest_of_file, path)
        found.append(StageSource(name, str(path.absolute()), stat.st_size, str(stat.st_mtime_ns), digest))
    return found


def _recorded_model(folder: Path) -> dict[str, Any]:
    path = folder / "record.json"
    record = read_json(path) if path.is_file() else {}
    recipe = record.get("resolved_recipe") if isinstance(record, Mapping) else None
    model = recipe.get("model") if isinstance(recipe, Mapping) else None
    if not isinstance(model, Mapping) or "kind" not in model:
        raise RecipeError(
            "the bundle does not say which model it holds",
            where=str(path),
            expected="`resolved_recipe.model`, as `lmpipe run` writes it",
            fix="give a bundle that lmpipe made",
        )
    return {key: value for key, value in model.items() if key not in SIZES and value is not None}
