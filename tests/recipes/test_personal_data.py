"""No raw value of personal data, and no key, in anything that a run leaves from the masking on: outputs, records, the page."""

import json

import pyarrow.parquet as pq
import pytest

from lmpipe.base.runtime import Runtime
from lmpipe.recipes.project import open_project
from lmpipe.recipes.reporting import write_page

KEY = "c0ffee-and-more-than-sixteen-bytes"
PLANTED = (
    "ada.lovelace@example.org", "4111 1111 1111 1111", "GB82WEST12345698765432", "536-90-7890", "905-674-3793", "93.184.216.34",
    "3c:22:fb:9a:01:7e", "hunter2-and-more", "AKIAQ7RT5ZLM3X9WB2KD", "7/14/1985", "RSSMRA85T10A562S", "529.982.247-25",
)  # fmt: skip
BEFORE_MASKING = ("read-", "repair-", "select-")
"""Their documents hold the text as it was; everything else of theirs is searched, too."""


def corpus(**pii):
    return {
        "read": [{"kind": "jsonl", "paths": ["texts.jsonl"], "meta_columns": ["author"]}],
        "clean": [{"kind": "unicode"}, {"kind": "length", "min_characters": 30}],
        "dedup": [{"kind": "exact"}],
        "pii": pii,
    }


def write_texts(folder):
    secret = f"postgres://admin:{PLANTED[7]}@db.example.com/x"
    values = ", ".join([*(value for value in PLANTED if value not in (PLANTED[7], PLANTED[9])), secret])
    rows = [{"text": f"Number {i}: a text with nothing in it, {i} times over.", "author": "nobody"} for i in range(60)]
    for row in rows[::6]:
        row["text"] += f" Here is {values}; she was born on {PLANTED[9]}."
        row["author"] = PLANTED[0]
    rows.append({"text": PLANTED[0]})  # too short: its drop is explained
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def everything(root):
    """(path, text) of every file of a store, Parquet as its values; documents from before the masking left out."""
    for path in sorted(root.rglob("*")):
        early = path.name.startswith("part-") and path.relative_to(root).parts[0].startswith(BEFORE_MASKING)
        if not path.is_file() or early:
            continue
        data = path.read_bytes()
        yield path, json.dumps(pq.read_table(path).to_pylist()) if data[:4] == b"PAR1" else data.decode("utf-8", "replace")


@pytest.mark.parametrize("action", ["mask", "pseudonym", "drop"])
def test_no_value_and_no_key_is_left(tmp_path, run_data, monkeypatch, capfd, action):
    monkeypatch.setenv("LMPIPE_TEST_KEY", KEY)
    write_texts(tmp_path)
    run = run_data(tmp_path, corpus(action=action, **({"key_env": "LMPIPE_TEST_KEY"} if action == "pseudonym" else {})))
    write_page(run)
    assert run.read("mask-corpus", "pii.json")["documents"] == 10
    read = [(str(path), text) for path, text in everything(tmp_path / "store")]
    assert any("dropped.parquet" in path for path, _ in read)
    assert any(path.endswith(".html") for path, _ in read)
    read.append(("the terminal", "".join(capfd.readouterr())))
    for path, text in read:
        assert [value for value in (*PLANTED, KEY) if value in text] == [], path


def test_where_the_key_lies_changes_nothing_and_another_key_does(tmp_path, write_recipe, monkeypatch):
    write_texts(tmp_path)
    (tmp_path / "key").write_text(KEY)
    monkeypatch.setenv("LMPIPE_TEST_KEY", KEY)

    def identity(**key):
        recipe = write_recipe(tmp_path, corpus(action="pseudonym", **key))
        stages = open_project(recipe).stages(Runtime(store=str(tmp_path / "store")))
        stage = next(stage for stage in stages if stage.name == "mask-corpus")
        return stage.config, [(source.name, source.digest()) for source in stage.sources()]

    first = identity(key_env="LMPIPE_TEST_KEY")
    assert identity(key_file="key") == first
    (tmp_path / "key").write_text(KEY + "2")
    assert identity(key_file="key") != first
