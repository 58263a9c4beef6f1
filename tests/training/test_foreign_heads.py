"""Encoders that Transformers computes, learning to answer: resumed exactly, and without dropout where they are judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import training_example as example
import transformers

from lmpipe.models.describing import describe
from lmpipe.models.heads import SequenceHead
from lmpipe.models.loading import load_network
from lmpipe.tokens.examples import ExampleShards
from lmpipe.tokens.packing import PackedLoader
from lmpipe.training.answers import Classification
from lmpipe.training.objective_config import ClassificationConfig
from lmpipe.training.step import parts_of
from lmpipe.training.validation import validation_loss, without_dropout


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example.write_examples(tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    sizes = {"dim": 16, "n_heads": 2, "n_layers": 2, "hidden_dim": 32, "max_position_embeddings": 32, "dropout": 0.3}
    torch.manual_seed(1)
    transformers.DistilBertForMaskedLM(transformers.DistilBertConfig(vocab_size=100, **sizes)).save_pretrained(folder)
    return folder


WAYS: dict[str, dict[str, Any]] = {
    "packed, in bf16": {"precision": "bf16"},
    "accumulated": {"micro_batch_tokens": 64},
    "by length": {"bucket_by_length": True},
    "adapted": {"adapter": {"kind": "lora", "rank": 2}},
}


@pytest.mark.parametrize("way", WAYS)
def test_stopped_and_resumed_is_the_same_run(way: str, examples: Path, start: Path, tmp_path: Path) -> None:
    phase = example.tiny_phase(objective={"kind": "classification"}, **WAYS[way])
    options: Any = {"model": describe(start), "phase": phase, "start": start}
    example.run_training(examples, tmp_path / "whole", **options)
    for steps in (1, 7, 100):
        asked = iter(range(1000))
        stopping = lambda asked=asked, steps=steps: next(asked) >= steps  # noqa: E731
        example.run_training(examples, tmp_path / "stopped", stopping=stopping, **options)
    expected = example.result(tmp_path / "whole")
    assert "best/model.safetensors" in expected
    assert example.result(tmp_path / "stopped") == expected


def test_held_out_loss_is_without_dropout(examples: Path, start: Path) -> None:
    shards = ExampleShards(examples / "validation")
    objective = Classification(ClassificationConfig(), shards)
    batch = objective.prepare(PackedLoader(shards, row_tokens=32, batch_size=4, seed=None).batch(0), 0)
    torch.manual_seed(0)
    network = load_network(start, head=SequenceHead(labels=shards.names)).train()
    (part,) = parts_of(batch, 4, "cpu")
    expected = float(without_dropout(network, objective, part).nats) / objective.supervised(batch)
    options: Any = {"micro_rows": 4, "device": "cpu"}
    losses = lambda *part: objective.losses(network, *part)  # noqa: E731
    judged = [validation_loss(network, losses, objective, [batch], **options).loss for _ in range(2)]
    assert judged == [pytest.approx(expected)] * 2
    assert network.training
