"""What lies in a model folder in the Hugging Face layout: config.json, read strictly, and which files hold the weights.

Knows no family and no tensor library.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError

from lmpipe.base.bundle import PICKLES
from lmpipe.base.config import Config
from lmpipe.base.errors import ModelError
from lmpipe.base.files import read_json, write_json
from lmpipe.models.heads import EmbeddingHead, Head, LanguageHead, SequenceHead, TokenHead
from lmpipe.models.sentences import pooling_of

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PREFIX_LM = "prefix_lm"
"""Key of config.json that says that a decoder of ours reads what it goes on from both ways; Transformers do not know it."""
BUFFERS = re.compile(r"inv_freq$|position_ids$|\.masked_bias$|\.attention\.bias$|\.attn\.bias$")
"""Tensors of some models' files that are tables, not parameters."""
C = TypeVar("C", bound=Config)


class UnspokenError(ModelError):
    """config.json asks for something that a family computes elsewhere, and not here."""


def json_of(path: Path) -> dict[str, Any]:
    """The object in a model's JSON file.

    Raises:
        ModelError: when it is not there or cannot be read.
    """
    if not path.is_file():
        raise ModelError("there is no model", where=str(path), expected=f"a folder with {CONFIG} and weights as safetensors")
    try:
        value = read_json(path)
    except ValueError as error:
        raise ModelError(f"{path.name} cannot be read: {error}", where=str(path), expected="JSON") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path.name} holds no object", where=str(path), expected="a JSON object")
    return value


def config_of(folder: Path, make: Callable[[dict[str, Any]], C], refused: Mapping[str, tuple[Any, ...]]) -> C:
    """A family's config from a folder's config.json.

    Args:
        folder: the model's.
        make: from the JSON object to the config.
        refused: keys that change what the network computes, with the values (the first is the default) that ours computes.

    Raises:
        UnspokenError: when the file says something that the layout does not have.
        ModelError: when it is not there, or lacks a key.
    """
    path = folder / CONFIG
    value = json_of(path)
    for key, allowed in refused.items():
        if value.get(key, allowed[0]) not in allowed:
            raise UnspokenError(
                f"{CONFIG} sets {key} to {value[key]!r}", where=str(path), expected=" or ".join(repr(one) for one in allowed)
            )
    try:
        return make(value)
    except KeyError as error:
        raise ModelError(f"{CONFIG} has no {error}", where=str(path), expected="the keys of its model type") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ModelError(
            f"{CONFIG} describes no {value.get('model_type')} that can be built: {first['msg']}",
            where=f"{path}, {'.'.join(map(str, first['loc']))}",
        ) from None


def refuse(what: str, expected: str) -> NoReturn:
    """Say that config.json asks for something that a family does not have here.

    Raises:
        UnspokenError: always.
    """
    raise UnspokenError(f"{CONFIG} asks for {what}", where=CONFIG, expected=expected)


def vocab_size_of(folder: Path) -> int:
    """The vocabulary size that config.json states.

    Raises:
        ModelError: when it states none.
    """
    size = json_of(folder / CONFIG).get("vocab_size")
    if not isinstance(size, int) or size < 1:
        raise ModelError(f"{CONFIG} sets vocab_size to {size!r}", where=str(folder / CONFIG), expected="a whole number")
    return size


def rope_theta(value: Mapping[str, Any], default: float = 10_000.0) -> float:
    """Base of the rotary frequencies, from either spelling.

    Raises:
        ModelError: for scaled rotary positions.
    """
    rope = value.get("rope_parameters") or value.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        refuse(f"rotary positions of type {rope.get('rope_type', rope.get('type'))!r}", "'default'")
    return float(rope.get("rope_theta", value.get("rope_theta", default)))


def head_of(folder: Path) -> Head | None:
    """The head that config.json's `architectures` names; labels without names are LABEL_0, LABEL_1, ..., as in Transformers.
    Where the body was saved alone, how its states become a vector, if the files of sentence-transformers say it; else None."""
    value = json_of(folder / CONFIG)
    architecture = str((value.get("architectures") or [""])[0])
    if architecture.endswith("Model") and not architecture.endswith("LMHeadModel"):
        pooling = pooling_of(folder)
        return EmbeddingHead(pooling=pooling) if pooling else None
    if not architecture.endswith(("ForSequenceClassification", "ForTokenClassification")):
        return LanguageHead()
    names = value.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    labels = tuple(str(names[key]) for key in sorted(names, key=int))
    return SequenceHead(labels=labels) if architecture.endswith("ForSequenceClassification") else TokenHead(labels=labels)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a folder, whether they are there or not.

    Raises:
        ModelError: when there are pickles instead.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        names = set(json_of(folder / INDEX).get("weight_map", {}).values())
        return [folder / Path(str(name)).name for name in sorted(names)]
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICKLES) if folder.is_dir() else []
    if pickles:
        raise ModelError(
            f"the weights are in '{pickles[0]}', which may be a pickle, and reading a pickle runs whatever code is in it",
            where=str(folder),
            expected=WEIGHTS,
            fix="convert them where they can be trusted: load with Transformers, save_pretrained(safe_serialization=True)",
        )
    return [folder / WEIGHTS]


def stored_parameters(folder: Path, *, tied: bool) -> int:
    """How many parameters a folder's safetensors hold, from their headers alone.

    Args:
        folder: the model's.
        tied: whether a head that is stored beside the embedding is the same matrix.

    Raises:
        ModelError: when a file is missing, is no safetensors file, or is a pickle.
    """
    total = 0
    for path in weight_files(folder):
        for name, tensor in _header_of(path).items():
            head = tied and name.endswith(("lm_head.weight", "embed_out.weight"))
            if name != "__metadata__" and not head and not BUFFERS.search(name):
                total += math.prod(tensor["shape"])
    return total


def _header_of(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: its length in eight bytes, then JSON."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length < LONGEST_HEADER else None
    except (OSError, ValueError) as error:
        raise _no_weights(path, str(error)) from None
    if not isinstance(header, dict):
        raise _no_weights(path, "no header")
    return header


LONGEST_HEADER = 100_000_000
"""As the library's own limit."""


def _no_weights(path: Path, why: str) -> ModelError:
    return ModelError(
        f"the weights cannot be read: {why}",
        where=str(path),
        expected=f"a whole {WEIGHTS}; pickle is refused",
        fix="fetch or make the file again",
    )


ROLES = tuple(f"{role}_token_id" for role in ("bos", "cls", "decoder_start", "eos", "mask", "pad", "sep", "unk"))


def carry_roles(source: Path, target: Path) -> None:
    """Let the files of one model folder name the control ids that those of another name: what goes on from a model has its
    tokenizer."""
    for name in (CONFIG, "generation_config.json"):
        if (target / name).is_file():
            given = {key: value for key, value in json_of(source / CONFIG).items() if key in ROLES and value is not None}
            stated = json_of(target / name)
            known = given if name == CONFIG else {key: value for key, value in given.items() if key in stated}
            write_json(target / name, dict(sorted({**stated, **known}.items())))
