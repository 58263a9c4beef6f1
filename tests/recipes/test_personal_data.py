"""No raw value of personal data, and no key, in anything that a run leaves from the masking on: outputs, records, the page."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lmpipe.base.runtime import Runtime
from lmpipe.pipeline import runner
from lmpipe.pipeline.runs import RunLog
from lmpipe.pipeline.store import open_store
from lmpipe.recipes.project import open_project
from lmpipe.recipes.reporting import write_page
from lmpipe.recipes.results import Run

KEY = "c0ffee-and-more-than-sixteen-bytes"
PLANTED = (
    "ada.lovelace@example.org", "4111 1111 1111 1111", "GB82WEST12345698765432", "536-90-7890", "905-674-3793", "93.184.216.34",
    "3c:22:fb:9a:01:7e", "hunter2-and-more", "AKIAQ7RT5ZLM3X9WB2KD", "7/14/1985", "RSSMRA85T10A562S", "529.982.247-25",
)  # fmt: skip
BEFORE_MASKING = ("read-", "repair-", "select-")
"""Their documents hold the text as it was; everything else of theirs is searched, too."""


def recipe(pii):
    return {
        "name": "private",
        "data": {
            "corpus": {
                "read": [{"kind": "jsonl", "paths": ["texts.jsonl"], "meta_columns": ["author"]}],
                "clean": [{"kind": "unicode"}, {"kind": "length", "min_characters": 30}],
                "dedup": [{"kind": "exact"}],
                "pii": pii,
            }
        },
        "tokenizer": {"kind": "bpe", "vocab_size": 300, "train_on": "corpus"},
        "model": {"kind": "llama", "layers": 1, "width": 16, "heads": 2, "context": 64},
        "train": [
            {
                "name": "pretrain",
                "on": "corpus",
                "tokens": 2000,
                "batch_tokens": 512,
                "optimizer": {"kind": "adamw", "lr": 1e-2},
            }
        ],
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


def run_data(folder, pii):
    """Every data stage, the tokenizer and its shards, in this process; then the page."""
    given = folder / "recipe.yaml"
    given.write_text(json.dumps(recipe(pii)), encoding="utf-8")
    project = open_project(given)
    runtime = Runtime(store=str(folder / "store"), workers=1, threads=1, isolate=False)
    store = open_store(runtime.store)
    wanted = ("read", "repair", "measure", "duplicates", "select", "mask", "split", "tokeniz")
    stages = [stage for stage in project.stages(runtime) if stage.name.startswith(wanted)]
    log = RunLog(store, project.recipe.name, project.resolved(runtime), extra={"recipe_text": given.read_text()})
    runner.run(stages, runtime, log)
    log.close()
    run = Run(log.record, store)
    write_page(run)
    return run


def everything(root):
    """(path, text) of every file of a store, Parquet as its values; documents from before the masking left out."""
    for path in sorted(root.rglob("*")):
        early = path.name.startswith("part-") and path.relative_to(root).parts[0].startswith(BEFORE_MASKING)
        if not path.is_file() or early:
            continue
        data = path.read_bytes()
        yield path, json.dumps(pq.read_table(path).to_pylist()) if data[:4] == b"PAR1" else data.decode("utf-8", "replace")


@pytest.mark.parametrize("action", ["mask", "pseudonym", "drop"])
def test_no_value_and_no_key_is_left(tmp_path: Path, monkeypatch, capfd, action):
    monkeypatch.setenv("LMPIPE_TEST_KEY", KEY)
    write_texts(tmp_path)
    run = run_data(tmp_path, {"action": action, **({"key_env": "LMPIPE_TEST_KEY"} if action == "pseudonym" else {})})
    assert run.read("mask-corpus", "pii.json")["documents"] == 10
    read = [(str(path), text) for path, text in everything(tmp_path / "store")]
    assert any("dropped.parquet" in path for path, _ in read)
    assert any(path.endswith(".html") for path, _ in read)
    read.append(("the terminal", "".join(capfd.readouterr())))
    for path, text in read:
        assert [value for value in (*PLANTED, KEY) if value in text] == [], path


def test_where_the_key_lies_changes_nothing_and_another_key_does(tmp_path, monkeypatch):
    write_texts(tmp_path)
    (tmp_path / "key").write_text(KEY)
    monkeypatch.setenv("LMPIPE_TEST_KEY", KEY)

    def identity(**key):
        (tmp_path / "recipe.yaml").write_text(json.dumps(recipe({"action": "pseudonym", **key})), encoding="utf-8")
        stages = open_project(tmp_path / "recipe.yaml").stages(Runtime(store=str(tmp_path / "store")))
        stage = next(stage for stage in stages if stage.name == "mask-corpus")
        return stage.config, [(source.name, source.digest()) for source in stage.sources()]

    first = identity(key_env="LMPIPE_TEST_KEY")
    assert identity(key_file="key") == first
    (tmp_path / "key").write_text(KEY + "2")
    assert identity(key_file="key") != first
