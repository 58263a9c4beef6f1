"""Which classes Transformers has for which model types, read off its own tables. To run them would load torch."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

Architecture = Literal["decoder", "encoder", "encoder-decoder"]
TABLES = {
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "targets": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "language": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "sequence": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "token": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
}
"""What a model type can have, and the table of `transformers.models.auto` that says which have it."""
LABELLED = ("sequence", "token")
"""Heads that an encoder of another family can be given; its own, for words, comes with it."""


@cache
def model_types() -> dict[str, frozenset[str]]:
    """By the keys of `TABLES`, the model types that have it; nothing where Transformers is not installed."""
    spec = find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        return {}
    file = Path(spec.submodule_search_locations[0]) / "models/auto/modeling_auto.py"
    wanted = {table: ours for ours, table in TABLES.items()}
    found = {}
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            name = ast.unparse(statement.targets[0])
            if name in wanted:
                found[wanted[name]] = frozenset(kind for kind, _ in ast.literal_eval(statement.value.args[0]))
    return found


def architecture_of(family: str) -> Architecture | None:
    """What models of a type are; None for types that are not of text, and where nothing is known.

    Some encoders can be told to be decoders, and most decoders can be given a head that reads a label off the last token: a
    type is what it is published as.
    """
    types = model_types()
    if family in types.get("targets", ()):
        return "encoder-decoder"
    if family in types.get("language", ()):
        return "encoder"
    if family in types.get("causal", ()):
        return "decoder"
    return "encoder" if any(family in types.get(head, ()) for head in LABELLED) else None


def heads_of(family: str) -> tuple[str, ...]:
    """The heads with labels that an encoder of this type can be given; all where nothing is known."""
    types = model_types()
    return tuple(head for head in LABELLED if not types or family in types[head])


def nearest(family: str, head: str) -> str:
    """Encoders that have such a head, the one of the most similar name first.

    >>> nearest("deberta-v3", "token").split(", ")[0]
    'deberta-v2'
    """
    able = sorted(one for one in model_types().get(head, ()) if architecture_of(one) == "encoder")
    return ", ".join(_first(difflib.get_close_matches(family, able, n=1, cutoff=0.4), ("distilbert", "electra", "deberta-v2")))


def _first(close: Collection[str], known: Collection[str]) -> list[str]:
    return list(dict.fromkeys([*close, *known]))
