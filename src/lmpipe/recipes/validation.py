"""From plain data to a config, or to one message that names every problem: path, line, value, what was expected, nearest name.

Works for any `Config` tree; knows the field types only through their annotations.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lmpipe.base.config import Config
from lmpipe.base.errors import RecipeError
from lmpipe.base.nearest import did_you_mean
from lmpipe.recipes.reading import Path_, Source, parse_value

T = TypeVar("T", bound=Config)


def validate(cls: type[T], source: Source) -> T:
    """Check `source.data` against `cls`, strictly: the text "8" is not a number, and 1 is not a truth value.

    Raises:
        RecipeError: listing every problem with its place.
    """
    try:
        return cls.model_validate_json(json.dumps(source.data), strict=True)
    except ValidationError as error:
        found = _without_echoes(error.errors(include_url=False))
        problems = list(dict.fromkeys(_problem(cls, source, e) for e in found))
        raise recipe_error(source.name, problems) from None


def _without_echoes(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without what pydantic adds about a list whose only elements were wrong: that it is too short "after validation"."""
    places = [error["loc"] for error in errors]

    def is_echo(error: ErrorDetails) -> bool:
        inside = any(place[: len(error["loc"])] == error["loc"] and len(place) > len(error["loc"]) for place in places)
        return error["type"] == "too_short" and inside

    return [error for error in errors if not is_echo(error) and not _of_another_form(error)]


def _of_another_form(error: ErrorDetails) -> bool:
    """Where a word or a section may stand: what the one says about a value that was meant as the other."""
    if error["type"] == "literal_error":
        return isinstance(error["input"], dict) and _is_form(error["loc"][-1])
    return error["type"] == "model_attributes_type" and isinstance(error["input"], str) and _is_form(error["loc"][-1])


def _is_form(step: int | str) -> bool:
    """Whether a step of pydantic's location names one of the forms that a value may have, instead of a key."""
    return isinstance(step, str) and step.startswith(("literal[", "tagged-union["))


def recipe_error(name: str, problems: list[tuple[str, str]]) -> RecipeError:
    """One error out of many problems, each (where, what)."""
    if len(problems) == 1:
        where, what = problems[0]
        return RecipeError(what, where=where, fix="`lmpipe schema` describes every key")
    lines = [f"{len(problems)} problems in {name}", *(f"  {where}: {what}" for where, what in problems)]
    return RecipeError("\n".join(lines), fix="`lmpipe schema` describes every key")


def apply_overrides(source: Source, overrides: Mapping[str, Any]) -> Source:
    """A copy of `source` with fields replaced: `{"train.0.tokens": 1_000_000}`. Validation is the caller's next step.

    Raises:
        RecipeError: when a path leads through something that has no such place.
    """
    data = json.loads(json.dumps(source.data))
    positions = dict(source.positions)
    for dotted, value in overrides.items():
        path = _override_path(data, dotted)
        cursor: Any = data
        for step in path[:-1]:
            cursor = cursor.setdefault(step, {}) if isinstance(cursor, dict) else cursor[step]
        cursor[path[-1]] = value
        for known in [p for p in positions if p[: len(path)] == path]:
            del positions[known]
    return Source(source.name, source.text, data, positions)


def parse_overrides(assignments: list[str]) -> dict[str, Any]:
    """`["train.0.tokens=1_000_000"]` -> `{"train.0.tokens": 1000000}`.

    Raises:
        RecipeError: for text without `=`, or a value that is not YAML.
    """
    overrides: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set {assignment} assigns nothing", expected="--set key.path=value", where="--set")
        overrides[key.strip()] = parse_value(value, f"--set {key}")
    return overrides


def _override_path(data: Any, dotted: str) -> Path_:
    path: Path_ = ()
    cursor = data
    for step in dotted.split("."):
        if isinstance(cursor, list):
            if not step.isdigit() or int(step) >= len(cursor):
                raise RecipeError(
                    f"--set {dotted}: '{'.'.join(map(str, path))}' is a list with {len(cursor)} entries and has no '{step}'",
                    where="--set",
                    expected=f"a number from 0 to {len(cursor) - 1}",
                )
            path, cursor = (*path, int(step)), cursor[int(step)]
        elif isinstance(cursor, dict):
            path, cursor = (*path, step), cursor.get(step, {})
        else:
            raise RecipeError(
                f"--set {dotted}: '{'.'.join(map(str, path))}' is a single value and has no '{step}'", where="--set"
            )
    return path


def _problem(cls: type[BaseModel], source: Source, error: ErrorDetails) -> tuple[str, str]:
    path, parent = _path_in_data(source.data, error["loc"])
    name = dotted_path(path)
    kind, context = error["type"], error.get("ctx", {})
    where = source.where(path)
    if kind == "extra_forbidden":
        known = known_keys(cls, source.data, path[:-1])
        return where, f"'{name}' is not a known key{did_you_mean(str(path[-1]), known)}; expected one of: {', '.join(known)}"
    if kind == "missing":
        keys = f"; it has only: {', '.join(map(str, parent))}" if isinstance(parent, dict) and parent else ""
        return where, f"'{name}' is required{keys}"
    if kind == "union_tag_invalid":
        tags = [tag.strip("'") for tag in str(context["expected_tags"]).split(", ")]
        tag = str(context["tag"])
        path = (*path, "kind")
        return source.where(
            path
        ), f"'{dotted_path(path)}' is '{tag}'{did_you_mean(tag, tags)}; expected one of: {', '.join(tags)}"
    if kind == "union_tag_not_found":
        return where, f"'{name}' has no 'kind'; expected kind: one of {_kinds(cls, source.data, path)}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if kind == "value_error" and not path:  # about several sections: it begins with the key that it is about
        about = tuple(int(step) if step.isdecimal() else step for step in message.split(" ", 1)[0].strip("':,").split("."))
        return source.where(about), message
    value = json.dumps(error["input"], ensure_ascii=False, default=str)
    shown = value if len(value) <= 80 else value[:77] + "..."
    said = message if "expected" in message else f"expected {message[:1].lower()}{message[1:]}"
    return where, f"'{name}' is {shown}; {said}"


def dotted_path(path: Path_) -> str:
    """`("data", "corpus", 0)` -> `data.corpus.0`, as `--set` takes it."""
    return ".".join(map(str, path)) or "the recipe"


def _path_in_data(data: Any, location: tuple[int | str, ...]) -> tuple[Path_, Any]:
    """The key path that pydantic's location stands for (without its union tags), and the value that holds the last key."""
    path: Path_ = ()
    cursor: Any = data
    parent: Any = data
    tag_seen = False
    for step in location:
        if _is_form(step):
            continue
        if isinstance(cursor, dict) and not tag_seen and cursor.get("kind") == step:
            tag_seen = True
            continue
        parent, tag_seen = cursor, False
        path = (*path, step)
        if isinstance(cursor, dict):
            cursor = cursor.get(step)
        elif isinstance(cursor, list) and isinstance(step, int) and step < len(cursor):
            cursor = cursor[step]
        else:
            cursor = None
    return path, parent


def known_keys(cls: type[BaseModel], data: Any, path: Path_) -> list[str]:
    """The keys that the schema allows at `path`, given the kinds chosen in `data`."""
    here = next(iter(_classes_at(cls, data, path)), None)
    return list(here.model_fields) if here else []


def _kinds(cls: type[BaseModel], data: Any, path: Path_) -> str:
    kinds = [str(c.model_fields["kind"].default) for c in _classes_at(cls, data, path) if "kind" in c.model_fields]
    return ", ".join(kinds)


def _classes_at(cls: type[BaseModel], data: Any, path: Path_) -> list[type[BaseModel]]:
    annotation: Any = cls
    cursor = data
    for step in path:
        classes = _narrow(classes_of(annotation), cursor)
        if classes:
            field = classes[0].model_fields.get(str(step))
            annotation = field.annotation if field else None
        else:
            annotation = _element_of(annotation)
        if annotation is None:
            return []
        cursor = _child(cursor, step)
    return _narrow(classes_of(annotation), cursor)


def _child(cursor: Any, step: str | int) -> Any:
    if isinstance(cursor, dict):
        return cursor.get(step)
    return cursor[step] if isinstance(cursor, list) and isinstance(step, int) and step < len(cursor) else None


def _narrow(classes: list[type[BaseModel]], data: Any) -> list[type[BaseModel]]:
    kind = data.get("kind") if isinstance(data, dict) else None
    chosen = [c for c in classes if "kind" in c.model_fields and c.model_fields["kind"].default == kind]
    return chosen or classes


def classes_of(annotation: Any) -> list[type[BaseModel]]:
    """The config classes that a value of this annotation may have, containers not entered."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return [c for member in get_args(annotation) for c in classes_of(member)]
    if origin is Annotated:
        return classes_of(get_args(annotation)[0])
    return []


def _element_of(annotation: Any) -> Any:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return next((e for member in get_args(annotation) if (e := _element_of(member)) is not None), None)
    if origin is Annotated:
        return _element_of(get_args(annotation)[0])
    arguments = get_args(annotation)
    if origin in (list, tuple):
        return arguments[0]
    return arguments[1] if origin is dict else None


def walk_classes(cls: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Every config class reachable from `cls`, itself first, each once."""
    seen: list[type[BaseModel]] = []
    todo = [cls]
    while todo:
        here = todo.pop(0)
        if here in seen:
            continue
        seen.append(here)
        yield here
        for field in here.model_fields.values():
            todo += _reachable(field.annotation)


def _reachable(annotation: Any) -> list[type[BaseModel]]:
    direct = classes_of(annotation)
    return direct or [c for argument in get_args(annotation) for c in _reachable(argument)]
