"""Models that Transformers computes, learning to answer: resumed exactly, and without dropout where they are judged."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_example as example
import transformers
from peft import PeftModel

from lmpipe.base.files import write_json
from lmpipe.models.describing import describe
from lmpipe.models.heads import SequenceHead
from lmpipe.models.loading import load_network
from lmpipe.tokens.examples import ExampleShards
from lmpipe.tokens.packing import PackedLoader
from lmpipe.tokens.shards import ShardWriter
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
        example.run_training(examples, tmp_path / "stopped", stopping=example.after(steps), **options)
    expected = example.result(tmp_path / "whole")
    assert "best/model.safetensors" in expected
    assert example.result(tmp_path / "stopped") == expected


@pytest.mark.parametrize("kind", ["auto", "bert"])
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft 0.21 asks transformers 5.23
def test_a_fresh_head_learns_beside_an_adapter_and_peft_has_both(
    kind: str, examples: Path, start: Path, tmp_path: Path
) -> None:
    if kind == "bert":
        sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32}
        start = tmp_path / "start"
        torch.manual_seed(1)
        config = transformers.BertConfig(vocab_size=100, max_position_embeddings=32, **sizes)
        transformers.BertForMaskedLM(config).save_pretrained(start)
    adapter = {"kind": "lora", "rank": 2}
    phase = example.tiny_phase(
        objective={"kind": "classification"},
        adapter=adapter,
        optimizer={"kind": "adamw", "lr": 1e-2},
        validation={"tokens": 512},
    )
    example.run_training(examples, tmp_path, model=describe(start), phase=phase, start=start)
    output, ids = tmp_path / "output", torch.randint(1, 100, (2, 20))
    merged = transformers.AutoModelForSequenceClassification.from_pretrained(output / "best", dtype=torch.float32).eval()
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(start, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(plain, output / "adapter").eval()
    with torch.inference_mode():
        torch.testing.assert_close(theirs(ids).logits, merged(ids).logits, rtol=0, atol=2e-5)
    assert merged.classifier.bias.abs().max() > 1e-3, "drawn as zero"


@pytest.mark.parametrize("way", [{}, {"bucket_by_length": True, "precision": "bf16"}], ids=["packed", "by length, in bf16"])
def test_an_encoder_decoder_stopped_and_resumed_is_the_same_run(way: dict[str, Any], tmp_path: Path) -> None:
    """Pegasus', whose table of positions is fixed and learns nothing."""
    pairs, generator = tmp_path / "pairs", np.random.default_rng(1)
    for side in ("train", "validation"):
        with (
            ShardWriter(pairs / side / "inputs", vocab_size=100, end_of_text_id=1) as inputs,
            ShardWriter(pairs / side / "targets", vocab_size=100, end_of_text_id=1) as targets,
        ):
            for length in generator.integers(1, 20, 60).tolist():
                text = generator.integers(20, 100, length).tolist()
                inputs.append([*text, 1], length)
                targets.append([*text[:3], 1], 0)
    write_json(pairs / "examples.json", {"kind": "pairs", "names": [], "several": False})
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
    config = transformers.PegasusConfig(
        vocab_size=100, max_position_embeddings=32, decoder_attention_heads=2, decoder_ffn_dim=32, **sizes
    )
    torch.manual_seed(1)
    transformers.PegasusForConditionalGeneration(config).save_pretrained(tmp_path / "start")
    phase = example.tiny_phase(objective={"kind": "seq2seq"}, optimizer={"kind": "adamw", "lr": 1e-2}, **way)
    options: Any = {"model": describe(tmp_path / "start"), "phase": phase, "start": tmp_path / "start"}
    example.run_training(pairs, tmp_path / "whole", **options)
    for steps in (1, 7, 100):
        example.run_training(pairs, tmp_path / "stopped", stopping=example.after(steps), **options)
    assert example.result(tmp_path / "stopped") == example.result(tmp_path / "whole")
    curve = [json.loads(line) for line in (tmp_path / "whole/output/curve.jsonl").read_text().splitlines()]
    losses = [row["validation_loss"] for row in curve if "validation_loss" in row]
    assert losses[-1] < losses[0]


def test_held_out_loss_is_without_dropout(examples: Path, start: Path) -> None:
    shards = ExampleShards(examples / "validation")
    objective = Classification(ClassificationConfig(), shards)
    batch = objective.prepare(PackedLoader(shards, row_tokens=32, batch_size=4, seed=None).batch(0), 0)
    torch.manual_seed(0)
    network = load_network(start, head=SequenceHead(labels=shards.names)).train()
    (part,) = parts_of(batch, 4, "cpu")
    expected = float(without_dropout(network, objective, part).nats) / objective.supervised(batch)
    options: Any = {"micro_rows": 4, "device": "cpu"}
    losses = partial(objective.losses, network)
    judged = [validation_loss(network, losses, objective, [batch], **options).loss for _ in range(2)]
    assert judged == [pytest.approx(expected)] * 2
    assert network.training
