"""`model: {from: ...}`: a recipe that goes on from a model takes its architecture and its tokenizer from there.

    model: {from: bundles/base, dropout: 0.1}   ->   model: {what the model's files say, dropout: 0.1}
                                                     tokenizer: {kind: pretrained, vocab_size: the model's}
                                                     start_from: bundles/base

The model is a bundle of ours, any folder in Hugging Face layout, or a name on the Hub. Reads JSON and the headers of weights
only, so `check` and `plan` stay fast. The model enters an identity by the digests of its files, never by its path.
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
from lmpipe.models.describing import describe
from lmpipe.models.published import CONFIG, INDEX, vocab_size_of, weight_files
from lmpipe.models.sentences import POOLING
from lmpipe.pipeline.stage import Source as StageSource
from lmpipe.recipes.hub import PREFIX, fetch, is_hub_name
from lmpipe.recipes.reading import Source

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
"""The first must be there."""
SIZES = ("size", "parameters", "for_vocabulary")
"""How large a model was asked to be: its shape says it already."""


def continue_from(source: Source, folders: Sequence[Path]) -> Source:
    """The recipe with what its `model: {from: ...}` stands for; unchanged where it has none.

    Raises:
        RecipeError: when a tokenizer is described, too.
        SourceError: when there is no such model.
        ModelError: when its files are damaged or of no kind that can be used.
    """
    model = source.data.get("model")
    if not isinstance(model, dict) or "from" not in model:
        return source
    if "tokenizer" in source.data:
        raise RecipeError(
            "a model that goes on from another has its tokenizer already",
            where="tokenizer",
            expected="none beside `model: {from: ...}`: its weights know no other ids",
            fix="remove tokenizer",
        )
    start, changes = str(model["from"]), {key: value for key, value in model.items() if key != "from"}
    folder = start_folder(start, folders)
    data = {
        **source.data,
        "model": {**_described(folder), **changes},
        "tokenizer": {"kind": "pretrained", "vocab_size": vocab_size_of(folder)},
        "start_from": start,
    }
    return replace(source, data=data)


def start_folder(start: str, folders: Sequence[Path], where: str = "model.from") -> Path:
    """Where the model lies, seen from any of `folders`; a model on the Hub is fetched. `where` says who asks for it.

    Raises:
        SourceError: when there is none.
    """
    for folder in folders:
        if not start.startswith(PREFIX) and (folder / start / CONFIG).is_file():
            return folder / start
    if is_hub_name(start) and not any((folder / start).exists() for folder in folders):
        return fetch(start)
    raise SourceError(
        f"there is no model '{start}'",
        where=where,
        expected=f"a bundle, a folder with {CONFIG}, safetensors and {TOKENIZER[0]}, or a name on the Hub such as hub:org/name",
        fix="check the path",
    )


def files_of(folder: Path) -> list[StageSource]:
    """What a run needs of the model, each file by its name and digest.

    Raises:
        SourceError: when one is missing.
        ModelError: when the weights are pickles.
    """
    weights = weight_files(folder)
    needed = [folder / CONFIG, *weights, folder / TOKENIZER[0]]
    others = [folder / name for name in ("generation_config.json", POOLING, *TOKENIZER[1:])]
    if len(weights) > 1:
        needed.append(folder / INDEX)
    for path in needed:
        if not path.is_file():
            raise SourceError(
                f"the model has no {path.name}",
                where=str(folder),
                expected=", ".join(path.name for path in needed),
                fix="load it with Transformers and write it again: save_pretrained of a model and of its fast tokenizer",
            )
    there = (*needed, *(path for path in others if path.is_file()))
    return [file_source(path, path.relative_to(folder).as_posix()) for path in there]


def file_source(path: Path, name: str = "") -> StageSource:
    """One local file, by name (its own where none is given) and digest; where it lies is no part of an identity."""
    stat = path.stat()
    return StageSource(
        name or path.name, str(path.absolute()), stat.st_size, str(stat.st_mtime_ns), partial(digest_of_file, path)
    )


def recipes_file(path: str, folders: Sequence[Path], *, where: str, expected: str) -> StageSource:
    """A file that a recipe names, seen from any of `folders`.

    Raises:
        RecipeError: when there is none; `where` and `expected` say who asks for what.
    """
    file = next((folder / path for folder in folders if (folder / path).is_file()), None)
    if file is None:
        raise RecipeError(
            f"there is no file '{path}'",
            where=where,
            expected=f"{expected}, seen from the recipe's folder",
            fix="check the path",
        )
    return file_source(file)


def _described(folder: Path) -> dict[str, Any]:
    """The section `model` that stands for the model in a folder: as its recipe had it, or as its files say."""
    path = folder / "record.json"
    record = read_json(path) if path.is_file() else {}
    recipe = record.get("resolved_recipe") if isinstance(record, Mapping) else None
    model = recipe.get("model") if isinstance(recipe, Mapping) else None
    if not isinstance(model, Mapping) or "kind" not in model:
        model = describe(folder).model_dump(mode="json")
    return {key: value for key, value in model.items() if key not in SIZES and value is not None}
