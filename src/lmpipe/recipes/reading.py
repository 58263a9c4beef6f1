"""A recipe's text as plain data, each value with its line and column.

Promises: YAML 1.2 (`1e-4` is a number, `no` is a word), a duplicate key is an error, no tag can make an object, an alias cannot
blow up (`MAX_NODES` values in all, `MAX_DEPTH` levels). Knows nothing of the schema.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from lmpipe.base.errors import RecipeError

MAX_BYTES = 1_000_000
MAX_NODES = 20_000
MAX_DEPTH = 50

Key = str | int
Path_ = tuple[Key, ...]

SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")}
PLAIN_TAGS = SCALARS | {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


@dataclass(frozen=True)
class Position:
    """Where a value stands, counted from 1."""

    line: int
    column: int


@dataclass
class Source:
    """A recipe as it was written: its data, its text, and the position of every key path."""

    name: str
    text: str
    data: dict[str, Any]
    positions: dict[Path_, Position] = field(default_factory=dict)

    def where(self, path: Path_) -> str:
        """`recipe.yaml:12:5` of a key path or of its nearest parent that was written."""
        for end in range(len(path), -1, -1):
            position = self.positions.get(path[:end])
            if position and (end or not path):
                return f"{self.name}:{position.line}:{position.column}"
        return self.name


def read_recipe(path: Path) -> Source:
    """Read a recipe file.

    Raises:
        RecipeError: for a missing or unreadable file, or text that is not such a YAML mapping, with line and column.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise RecipeError(f"{path} has {size:,} bytes", expected=f"a recipe of at most {MAX_BYTES:,} bytes")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise RecipeError(
            f"there is no recipe at {path}",
            expected="the path of a YAML file",
            fix="check the path, or make one: lmpipe init quickstart my-model",
        ) from None
    except IsADirectoryError:
        raise RecipeError(f"{path} is a folder", expected="a YAML file", fix=f"try {path / 'recipe.yaml'}") from None
    except PermissionError:
        raise RecipeError(f"no permission to read {path}", fix="change the file's permissions") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text (byte {error.start})", expected="UTF-8", fix="save it as UTF-8") from None
    return parse_recipe(text, str(path))


def parse_recipe(text: str, name: str) -> Source:
    """Parse a recipe's text; `name` stands in messages."""
    source = Source(name, text, {})
    data = _parse(text, name, source.positions)
    if not isinstance(data, dict):
        found = "nothing" if data is None else f"a {type(data).__name__}"
        raise RecipeError(f"{name} holds {found}", expected="a mapping of sections (name, data, model, ...)")
    source.data = data
    return source


def parse_value(text: str, name: str) -> Any:
    """Parse one value as a recipe would: for `--set key=value`.

    >>> parse_value("[1e-4, no, {a: true}]", "--set")
    [0.0001, 'no', {'a': True}]
    """
    return _parse(text, name, {})


def _parse(text: str, name: str, positions: dict[Path_, Position]) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    try:
        node = yaml.compose(text)
    except MarkedYAMLError as error:
        raise _syntax_error(error, name) from None
    except (YAMLError, ValueError) as error:
        raise RecipeError(f"{name} is not valid YAML: {str(error).splitlines()[0]}", where=name) from None
    except RecursionError:
        raise RecipeError(f"{name} is nested too deeply", expected=f"at most {MAX_DEPTH} levels") from None
    return None if node is None else _Builder(name, positions, yaml).build(node, ())


def _syntax_error(error: MarkedYAMLError, name: str) -> RecipeError:
    mark = error.problem_mark or error.context_mark
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    problem = (error.problem or "a syntax error").strip().splitlines()[0]
    return RecipeError(f"{name} is not valid YAML: {problem}", where=where, expected="YAML 1.2: spaces, not tabs")


class _Builder:
    """Turns YAML nodes into plain data, noting positions and refusing what a recipe may not hold."""

    def __init__(self, name: str, positions: dict[Path_, Position], yaml: YAML) -> None:
        self.name = name
        self.positions = positions
        self.nodes = 0
        self.scalars = SafeConstructor(loader=yaml)

    def build(self, node: Node, path: Path_) -> Any:
        self.nodes += 1
        where = self._where(node)
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise RecipeError(
                f"{self.name} expands to too many or too deeply nested values",
                where=where,
                expected=f"at most {MAX_NODES} values, {MAX_DEPTH} levels, aliases counted each time",
            )
        tag = str(node.tag)
        if tag not in PLAIN_TAGS:
            raise RecipeError(
                f"the tag {tag} is not allowed in a recipe",
                where=where,
                expected="plain data",
                fix="put the date in quotes" if tag.endswith(":timestamp") else "write the value itself",
            )
        self.positions.setdefault(path, Position(node.start_mark.line + 1, node.start_mark.column + 1))
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, where)

    def _mapping(self, node: MappingNode, path: Path_) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, ScalarNode) else None
            where = self._where(key_node)
            if not isinstance(key, str):
                raise RecipeError("a key must be a word", where=where, expected="key: value")
            if key in mapping:
                first = self.positions[(*path, key)]
                raise RecipeError(
                    f"the key '{'.'.join(map(str, (*path, key)))}' stands twice",
                    where=where,
                    expected=f"each key once; it stands first on line {first.line}",
                    fix="remove or rename one of them",
                )
            self.positions[(*path, key)] = Position(key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            mapping[key] = self.build(value_node, (*path, key))
        return mapping

    def _scalar(self, node: Node, where: str) -> Any:
        try:
            value = self.scalars.construct_object(node)
        except (YAMLError, ValueError, OverflowError):
            raise RecipeError(
                f"'{node.value}' cannot be read", where=where, expected="a number, a word, true or false"
            ) from None
        if isinstance(value, float) and not math.isfinite(value):
            raise RecipeError(f"'{node.value}' is not a finite number", where=where, expected="a finite number")
        return value

    def _where(self, node: Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
