"""Data that comes divided: sources that name the side of their documents."""

import json

import pytest

from lmpipe.base.errors import RecipeError
from lmpipe.base.files import read_json
from lmpipe.recipes.project import open_project


def write_texts(path, topic, count):
    path.write_text("".join(json.dumps({"text": f"{topic} number {n}", "label": n % 2}) + "\n" for n in range(count)))


@pytest.fixture
def corpus(tmp_path):
    for topic, count in (("given", 7), ("loose", 40)):
        write_texts(tmp_path / f"{topic}.jsonl", topic, count)
    sources = [
        {"kind": "jsonl", "paths": [str(tmp_path / "given.jsonl")], "side": "test"},
        {"kind": "jsonl", "paths": [str(tmp_path / "loose.jsonl")]},
    ]
    return {"read": sources, "split": {"train": 0.8, "validation": 0.2, "test": 0}}


@pytest.mark.parametrize("by", [{}, {"by": "stratum", "column": "label"}, {"by": "source", "train": 0, "validation": 1}])
def test_documents_stand_where_their_source_says_and_the_rest_is_divided(run_data, tmp_path, corpus, by):
    corpus["split"] |= by
    corpus["read"] = [{**source, "meta_columns": ["label"]} for source in corpus["read"]]
    if by.get("by") == "source":  # two sources for the two sides that have to be filled
        write_texts(tmp_path / "more.jsonl", "more", 9)
        corpus["read"].append({**corpus["read"][1], "paths": [str(tmp_path / "more.jsonl")], "side": "train"})
    run = run_data(tmp_path, corpus)
    sides = run.read("split-corpus", "splits.json")
    assert sides["test"]["documents"] == 7
    assert sides["train"]["documents"] + sides["validation"]["documents"] == 40 + (9 if by.get("by") == "source" else 0)
    assert sides["validation"]["documents"] > 0
    if by.get("by") == "stratum":
        assert sides["train"]["documents"] == 32


def test_a_division_by_position_and_given_sides_exclude_each_other(write_recipe, tmp_path, corpus):
    corpus["split"] = {"by": "position"}
    with pytest.raises(RecipeError, match="by: position cuts the corpus as a whole"):
        open_project(write_recipe(tmp_path, corpus))


def test_a_table_without_a_header_line(run_data, tmp_path):
    (tmp_path / "table.tsv").write_text("".join(f"sentence {n}\t{n % 2}\n" for n in range(30)))
    source = {"kind": "csv", "paths": [str(tmp_path / "table.tsv")], "columns": ["text", "label"], "meta_columns": ["label"]}
    run = run_data(tmp_path, {"read": [source]})
    assert read_json(run.folder("read-corpus") / "ledger.json")["rows_in"] == 30
