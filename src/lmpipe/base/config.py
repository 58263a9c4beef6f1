"""The base class of everything a user may write in a recipe.

Data only: frozen, keyword-only, unknown keys refused. Building lives in the room that owns the part. The docstring under a
field is its help text and its entry in the published JSON Schema.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, StringConstraints
from pydantic_core import CoreSchema

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
"""What a user may call a run, a corpus, a phase, a set: it becomes part of paths and of dotted names."""


class Config(BaseModel):
    """One section of a recipe. Equal configs are interchangeable, and a config never changes after it was made."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        ser_json_inf_nan="strings",
        defer_build=True,  # a validator is built when it is first used: a command uses few of them
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema with each field's help text.

        Help is read from the source when somebody asks for a schema. Pydantic's `use_attribute_docstrings` reads it when a
        class is made, which took a third of the time of every command (`builtins.compile`: 1.3 of 7.3 s under a profiler).
        """
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in field_help(cls).items():
            if name in properties:
                properties[name].setdefault("description", text)
        return schema


def field_help(cls: type[BaseModel]) -> dict[str, str]:
    """The docstring under each field of a config class, its bases' included."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel and base.__module__ in sys.modules:
            found |= _docstrings(base.__module__).get(base.__qualname__, {})
    return found


@cache
def _docstrings(module: str) -> dict[str, dict[str, str]]:
    """{class: {field: docstring}} of a module's top-level classes."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except OSError:  # no source: a class that was made at a prompt
        return {}
    return {node.name: _under_fields(node.body) for node in tree.body if isinstance(node, ast.ClassDef)}


def _under_fields(body: list[ast.stmt]) -> dict[str, str]:
    documented = {}
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = below.value.value if isinstance(below.value, ast.Constant) else None
            if isinstance(text, str):
                documented[field.target.id] = inspect.cleandoc(text)
    return documented
