"""A recipe's text: YAML 1.2, positions, and everything that is refused before a schema sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmpipe.base.errors import RecipeError
from lmpipe.recipes.reading import parse_recipe, parse_value, read_recipe

BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)
REFUSED = {
    "duplicate key": ("a: 1\nb: 2\na: 3\n", "3:1"),
    "python object": ("a: !!python/object/apply:os.system ['true']\n", "1:4"),
    "own tag": ("a: !thing x\n", "1:4"),
    "not a number": ("a: .nan\n", "1:4"),
    "infinite": ("a: [.inf]\n", "1:5"),
    "overflow": ("a: 1e999\n", "1:4"),
    "tab": ("a:\n\tb: 1\n", "2:1"),
    "open bracket": ("a: [1,\nb: 2\n", "x.yaml"),
    "alias bomb": (BOMB, "values"),
    "alias of itself": ("a: &a [*a]\n", "values"),
    "deep": ("a: " + "[" * 100_000, "deep"),
    "two documents": ("a: 1\n---\nb: 2\n", "x.yaml"),
    "a list": ("- a\n- b\n", "list"),
    "nothing": ("", "nothing"),
    "a key that is no word": ("[1, 2]: 3\n", "word"),
}


def test_yaml_1_2_means_what_it_looks_like() -> None:
    data = parse_recipe("rate: 1e-4\nanswer: no\nbig: 20_000_000\nlist: [1, two, 3.5, true, null]\n", "x").data
    assert data == {"rate": 1e-4, "answer": "no", "big": 20_000_000, "list": [1, "two", 3.5, True, None]}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_place(case: str) -> None:
    text, expected = REFUSED[case]
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text, "x.yaml")
    assert expected in str(caught.value)


def test_a_python_object_runs_nothing(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(RecipeError):
        parse_recipe(f"a: !!python/object/apply:os.mkdir ['{canary}']\n", "x.yaml")
    assert not canary.exists()


def test_every_value_knows_its_place() -> None:
    source = parse_recipe("a:\n  b:\n    - {c: 1}\n", "x.yaml")
    assert source.where(("a", "b", 0, "c")) == "x.yaml:3:8"
    assert source.where(("a", "b", 0, "missing")) == "x.yaml:3:7"


def test_values_of_set_are_read_as_in_a_recipe() -> None:
    assert parse_value("[1e-3, no, {a: true}]", "--set x") == [1e-3, "no", {"a": True}]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "absent.yaml", "no recipe"), (tmp_path, "folder")):
        with pytest.raises(RecipeError, match=words):
            read_recipe(path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \xff\xfe")
    with pytest.raises(RecipeError, match="UTF-8"):
        read_recipe(binary)
    with_mark = tmp_path / "bom.yaml"
    with_mark.write_bytes(b"\xef\xbb\xbfname: x\n")
    assert read_recipe(with_mark).data == {"name": "x"}
