"""Tasks as plain JSON and back, so that a plan can lie in a file: never pickled, so nothing in it can run.

    {"function": "lmpipe.data.measuring:_measure_part", "tasks": [{"!": "lmpipe.data.parts:PartTask", "of": {...}}, ...]}

Spelled are None, truth values, numbers, text, lists, tuples, dictionaries, paths, arrays of numbers, configs and dataclasses of
this package.
Anything else is refused: a task is a description of work, not a carrier of data.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmpipe.base.config import Config

MARK = "!"
PACKAGE = "lmpipe"


def spell(value: Any) -> Any:
    """A value as plain JSON.

    Raises:
        TypeError: for what has no spelling.
    """
    match value:
        case None | bool() | int() | float() | str() if type(value) in (type(None), bool, int, float, str):
            return value
        case list():
            return [spell(item) for item in value]
        case tuple() if type(value) is tuple:
            return {MARK: "tuple", "of": [spell(item) for item in value]}
        case Path():
            return {MARK: "path", "of": str(value)}
        case dict():
            return {MARK: "dict", "of": [[spell(key), spell(item)] for key, item in value.items()]}
        case Config():
            return {MARK: name_of(type(value)), "of": value.model_dump(mode="json")}
    if type(value).__module__ == "numpy" and value.dtype.kind in "biuf":  # named so that plans are read without numpy
        return {MARK: "array", "type": value.dtype.str, "of": value.tolist()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: spell(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {MARK: name_of(type(value)), "of": fields}
    raise TypeError(f"a task holds {type(value).__name__}, which has no spelling as JSON")


def read_back(value: Any) -> Any:
    """The inverse of `spell`.

    Raises:
        ValueError: for a name outside of this package, or of what is neither a config nor a dataclass.
    """
    if isinstance(value, list):
        return [read_back(item) for item in value]
    if not isinstance(value, dict):
        return value
    content = value["of"]
    match value[MARK]:
        case "tuple":
            return tuple(read_back(item) for item in content)
        case "path":
            return Path(content)
        case "array":
            import numpy as np

            return np.array(content, value["type"])
        case "dict":
            return {read_back(key): read_back(item) for key, item in content}
    cls = named(value[MARK])
    if isinstance(cls, type) and issubclass(cls, Config):
        return cls.model_validate(content)
    if isinstance(cls, type) and dataclasses.is_dataclass(cls):
        return cls(**{name: read_back(item) for name, item in content.items()})
    raise ValueError(f"'{value[MARK]}' is neither a config nor a dataclass")


def name_of(thing: type | Callable[..., object]) -> str:
    """`module:name` of a class or a function on the top level of a module."""
    return f"{thing.__module__}:{thing.__qualname__}"


def named(name: str) -> Any:
    """What `name_of` named.

    Raises:
        ValueError: when it is not of this package.
    """
    module, _, attribute = name.partition(":")
    if module.split(".")[0] != PACKAGE or "." in attribute:
        raise ValueError(f"'{name}' is not a name on the top level of a module of {PACKAGE}")
    return getattr(importlib.import_module(module), attribute)
