"""`lmpipe tokenizer compare`: numbers that can be counted by hand, on text from anywhere."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lmpipe.base.errors import ModelError, RecipeError
from lmpipe.base.progress import Silent
from lmpipe.base.runtime import Runtime
from lmpipe.cli.main import app
from lmpipe.recipes.running import run
from lmpipe.recipes.tokenizing import compare
from lmpipe.tokens.config import ByteConfig, WordConfig
from lmpipe.tokens.training import train_on_texts

LINES = [
    {"text": "the cat sat", "language": "en"},
    {"text": "the zebra sat", "language": "en"},
    {"text": "die Käfer", "language": "de"},
]


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    for name, config in {"bytes": ByteConfig(), "words": WordConfig(vocab_size=20, train_on="c", min_frequency=1)}.items():
        (tmp_path / name).mkdir()
        train_on_texts(["the cat sat", "die cat"], config, tmp_path / name, progress=Silent())
    (tmp_path / "lines.jsonl").write_text("\n".join(json.dumps(line) for line in LINES), encoding="utf-8")
    return {name: str(tmp_path / name) for name in ("bytes", "words", "lines.jsonl")}


def test_numbers_are_those_that_one_counts_by_hand(places: dict[str, str]) -> None:
    byte, word = compare([places["bytes"], f"{places['words']}/tokenizer.json"], places["lines.jsonl"])
    assert (byte["documents"], byte["tokens"], byte["bytes"]) == (3, 34, 34)
    assert (byte["bytes_per_token"], byte["fertility"], byte["round_trip_fraction"]) == (1.0, 34 / 8, 1.0)
    assert (byte["characters_per_token"], byte["unknown_fraction"], byte["vocab_size"]) == (33 / 34, 0.0, 262)
    assert (word["tokens"], word["fertility"], word["round_trip_fraction"]) == (8, 1.0, 1 / 3)
    assert word["unknown_fraction"] == 2 / 8
    assert word["used_fraction"] == 5 / word["vocab_size"]  # the, cat, sat, die, and <unk>


def test_every_language_has_its_row(places: dict[str, str]) -> None:
    rows = compare([places["words"]], places["lines.jsonl"], by="language")
    assert [(row["group"], row["documents"]) for row in rows] == [("all", 3), ("de", 1), ("en", 2)]
    assert [row["unknown_fraction"] for row in rows] == [2 / 8, 1 / 2, 1 / 6]


def test_a_corpus_of_a_run_is_compared_on_its_held_out_text(places: dict[str, str], tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text(f"the cat sat on number {number}. " * 20, encoding="utf-8")
    recipe = {
        "name": "small",
        "data": {"corpus": {"read": [{"kind": "text", "paths": [str(tmp_path / "*.txt")]}]}},
        "tokenizer": {"vocab_size": 280, "train_on": "corpus"},
        "model": {"layers": 1, "width": 16, "heads": 1, "context": 16},
        "train": [{"name": "p", "on": "corpus", "tokens": 64, "batch_tokens": 64, "validation": {"tokens": 64}}],
    }
    runtime = Runtime(store=str(tmp_path / "store"), device="cpu", threads=1, workers=1, compile=False, isolate=False)
    done = run(recipe, runtime=runtime)
    rows = compare([str(done.bundle), places["bytes"]], "small:corpus", by="source", store=str(tmp_path / "store"))
    assert rows[0]["bytes_per_token"] > rows[-1]["bytes_per_token"] == 1.0
    assert {row["group"] for row in rows} > {"all"}
    with pytest.raises(RecipeError, match="no text 'small:nothing'"):
        compare([places["bytes"]], "small:nothing", store=str(tmp_path / "store"))


def test_the_command_prints_a_table_or_json(places: dict[str, str]) -> None:
    arguments = ["tokenizer", "compare", places["bytes"], places["words"], "--on", places["lines.jsonl"]]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert all(word in shown.output for word in ("bytes", "words", "33.3%", "25.00%"))
    told = CliRunner().invoke(app, [*arguments, "--json"])
    assert [row["tokens"] for row in json.loads(told.output)] == [34, 8]


def test_a_tokenizer_that_is_not_there_is_one_clear_error(places: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="no tokenizer"):
        compare(["nowhere"], places["lines.jsonl"])
