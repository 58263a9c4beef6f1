"""Samples on the way: the same after a kill, and nothing else than without them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import training_example as example
from pydantic import ValidationError

from lmpipe.base.progress import Silent
from lmpipe.models.generate import TextGenerator
from lmpipe.models.loading import load_model
from lmpipe.tokens.config import ByteConfig
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.training import train_tokenizer
from lmpipe.training.materials import Materials

SAMPLES = {"prompts": ["one", "another"], "every_tokens": 384, "new_tokens": 6, "temperature": 0}


@pytest.fixture(scope="module")
def bytes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer, and a corpus of as many ids."""
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "tokenizer").mkdir()
    train_tokenizer(None, ByteConfig(), folder / "tokenizer", progress=Silent(), threads=1)
    example.write_corpus(folder / "corpus", vocab_size=262)
    return folder


def samples(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "output" / "observed" / "samples.jsonl").read_text().splitlines()]


def test_samples_are_resumed_and_change_nothing(bytes_folder: Path, tmp_path: Path) -> None:
    materials = Materials(tokenizer=bytes_folder / "tokenizer")
    options: dict[str, Any] = {
        "average": {"decay": 0.9},
        "precision": "bf16",
        "validation": {"every_tokens": 768, "tokens": 128},
    }
    phase = example.tiny_phase(samples=SAMPLES, **options)
    example.run_training(bytes_folder / "corpus", tmp_path / "whole", phase=phase, materials=materials)
    example.run_training(bytes_folder / "corpus", tmp_path / "without", phase=example.tiny_phase(**options))
    asked = iter(range(100))
    for stopping in (lambda: next(asked) >= 5, example.never):
        example.run_training(bytes_folder / "corpus", tmp_path / "stopped", phase=phase, materials=materials, stopping=stopping)
    assert example.result(tmp_path / "stopped") == example.result(tmp_path / "whole") == example.result(tmp_path / "without")
    assert samples(tmp_path / "stopped") == samples(tmp_path / "whole")
    assert [row["step"] for row in samples(tmp_path / "whole")] == [0, 3, 6, 9, 12]


def test_what_was_written_is_what_the_model_generates(bytes_folder: Path, tmp_path: Path) -> None:
    materials = Materials(tokenizer=bytes_folder / "tokenizer")
    example.run_training(bytes_folder / "corpus", tmp_path, phase=example.tiny_phase(samples=SAMPLES), materials=materials)
    tokenizer = load_tokenizer(bytes_folder / "tokenizer")
    generator = TextGenerator(load_model(tmp_path / "output" / "last", device="cpu", dtype="float32"), known_ids=262)
    settings: dict[str, Any] = {"max_new_tokens": 6, "temperature": 0, "top_k": 0, "top_p": 1, "seed": 0, "stop_ids": (0,)}
    expected = [
        tokenizer.decode([i for i in generator.generate(tokenizer.encode_prompt(prompt), **settings) if i])
        for prompt in SAMPLES["prompts"]
    ]
    assert samples(tmp_path)[-1]["written"] == expected


def test_an_objective_that_writes_nothing_has_no_samples() -> None:
    with pytest.raises(ValidationError, match="samples is for causal, chat and distillation, and the objective is masked"):
        example.tiny_phase(objective={"kind": "masked"}, samples=SAMPLES)
