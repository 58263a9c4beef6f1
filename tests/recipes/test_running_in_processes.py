"""A whole recipe whose training stage is done by two processes: what the record, the report and the plan say of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lmpipe
from lmpipe.base.errors import RecipeError
from lmpipe.base.runtime import Runtime


def recipe(folder: Path) -> dict[str, Any]:
    texts = [{"text": " ".join(f"{number} {word}" for word in ("one", "two", "three") * 20)} for number in range(60)]
    (folder / "texts.jsonl").write_text("\n".join(json.dumps(text) for text in texts), encoding="utf-8")
    return {
        "name": "together",
        "data": {"corpus": {"read": [{"kind": "jsonl", "paths": [str(folder / "texts.jsonl")]}]}},
        "tokenizer": {"kind": "byte"},
        "model": {"kind": "llama", "layers": 1, "width": 16, "heads": 2, "context": 64},
        "train": [{"name": "x", "on": "corpus", "tokens": 4096, "batch_tokens": 512}],
        "goal": {"task": "generate", "metric": "bits_per_byte", "on": "test", "at_most": 9},
        "gate": {"require": [{"metric": "goal"}]},
        "evaluate": [{"kind": "perplexity", "on": "corpus"}],
    }


@pytest.mark.slow
def test_two_processes_train_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runtime = Runtime(store=str(tmp_path / "store"), device="cpu", threads=2, workers=1, compile=False, processes=2)
    run = lmpipe.run(recipe(tmp_path), runtime=runtime)
    record = run.records["train-x"]
    peaks = record.facts["peak_memory_bytes_by_process"]
    assert record.facts["processes"] == len(peaks) == 2
    assert record.peak_memory_bytes == sum(peaks)
    assert record.cpu_seconds > 2  # two processes load torch; the one that waits for them does not count for so much
    assert record.runtime["processes"] == 2
    (page,) = (tmp_path / "store" / "runs").rglob("*.html")
    assert "Processes" in page.read_text(encoding="utf-8")


def test_plans_say_how_many_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    planned = lmpipe.plan(recipe(tmp_path), runtime=Runtime(store=str(tmp_path / "store"), processes=2, shard=True))
    assert planned.estimates["processes"] == 2
    assert planned.estimates["stages"] == {}
    for options, refusal in (
        ({"shard": True}, "one process has nobody to divide a model with"),
        ({"restarts": 1}, "one process is not started again by itself"),
        ({"machines": 2}, "several machines need a place to meet"),
        ({"rendezvous": "here:1"}, "several machines need a place to meet"),
        ({"processes": 0}, "0 processes cannot train"),
    ):
        with pytest.raises(RecipeError, match=refusal):
            lmpipe.plan(recipe(tmp_path), runtime=Runtime(store=str(tmp_path / "store"), **options))
