"""Additions to the loss, averages of the weights, statistics, and phases that start from another's weights."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import training_example as example
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.errors import ModelError
from lmpipe.models.families import build
from lmpipe.training import objectives
from lmpipe.training.averaging import Average
from lmpipe.training.objective_config import CausalConfig
from lmpipe.training.objectives import next_token_losses, token_losses
from lmpipe.training.optimizer_config import SgdConfig
from lmpipe.training.optimizers import MasterOptimizer


@settings(deadline=None, max_examples=40)
@given(smoothing=st.sampled_from([0.0, 0.1, 0.5]), z=st.sampled_from([0.0, 1e-4, 0.1]), seed=st.integers(0, 100))
def test_smoothing_and_z_loss_are_torchs_and_the_papers(smoothing: float, z: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 5, 11, generator=generator)
    targets = torch.randint(-1, 11, (2, 5), generator=generator)
    targets[targets == -1] = -100
    targets[0, 0] = 3
    found = token_losses(logits, targets, CausalConfig(label_smoothing=smoothing, z_loss=z))
    flat, wanted = logits.flatten(0, 1), targets.flatten()
    smoothed = F.cross_entropy(flat, wanted, label_smoothing=smoothing, reduction="sum")
    log_z = torch.logsumexp(flat, -1)[wanted != -100]
    torch.testing.assert_close(found.minimised, smoothed + z * log_z.square().sum(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found.nats, F.cross_entropy(flat, wanted, reduction="sum"), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_logits_in_parts_give_the_loss_and_the_gradient_of_all_at_once(
    monkeypatch: pytest.MonkeyPatch, smoothing: float
) -> None:
    network = build(example.tiny_model(dropout=0.0), example.VOCABULARY).train()
    config = CausalConfig(label_smoothing=smoothing)
    ids, segments = torch.randint(0, example.VOCABULARY, (3, 20)), torch.arange(20).expand(3, 20) // 7
    targets = torch.where(torch.rand(3, 20) < 0.2, -100, ids.roll(-1))
    heights: list[int] = []
    network.head.register_forward_hook(lambda _, __, logits: heights.append(logits.numel()))

    def measured() -> tuple[float, float, list[torch.Tensor]]:
        network.zero_grad()
        found = next_token_losses(network, ids, targets, segments, config)
        found.minimised.backward()
        return found.minimised.item(), found.nats.item(), [p.grad for p in network.parameters() if p.grad is not None]

    whole = measured()
    heights.clear()
    monkeypatch.setattr(objectives, "LOGITS_AT_ONCE", 13 * example.VOCABULARY)  # 60 positions in 5 parts of 12
    parts = measured()
    assert heights == 10 * [12 * example.VOCABULARY]  # each forward, and again for backward
    assert parts[:2] == pytest.approx(whole[:2], rel=1e-6)
    for found, expected in zip(parts[2], whole[2], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_average_is_the_formula_and_stands_in_for_a_while(precision: str) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = MasterOptimizer(model, SgdConfig(lr=0.1), precision)
    average = Average(optimizer, 0.5)
    expected = optimizer.masters["weight"].clone()
    for number in range(8):
        model.weight.grad = torch.full_like(model.weight, float(number))
        optimizer.take_gradients()
        optimizer.update(1.0, None)
        average.update()
        kept = min(0.5, (1 + number) / (10 + number))
        expected = kept * expected + (1 - kept) * optimizer.masters["weight"]
    torch.testing.assert_close(average.values["weight"], expected)
    before = model.weight.detach().clone()
    with average.in_place():
        assert torch.equal(model.weight, average.values["weight"].to(model.weight.dtype))
    assert torch.equal(model.weight, before)


def test_the_average_is_what_is_validated_and_saved(corpus: Path, tmp_path: Path) -> None:
    example.run_training(corpus, tmp_path / "plain")
    example.run_training(corpus, tmp_path / "averaged", phase=example.tiny_phase(average={"decay": 0.9}))
    plain, averaged = ((tmp_path / name / "output" / "curve.jsonl").read_text() for name in ("plain", "averaged"))
    losses = [[json.loads(row) for row in text.splitlines()] for text in (plain, averaged)]
    assert [row["loss"] for row in losses[0] if "loss" in row] == [row["loss"] for row in losses[1] if "loss" in row]
    watched = [[row["validation_loss"] for row in rows if "validation_loss" in row] for rows in losses]
    assert watched[0] != watched[1]
    weights = [example.weights(tmp_path / name)["model.norm.weight"] for name in ("plain", "averaged")]
    assert not torch.equal(*weights)


def test_statistics_name_every_layer_and_change_nothing(corpus: Path, tmp_path: Path) -> None:
    for watched in (True, False):
        example.run_training(corpus, tmp_path / str(watched), phase=example.tiny_phase(statistics=watched))
    rows = [json.loads(row) for row in (tmp_path / "True" / "output" / "statistics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6, 9, 12]
    for row in rows:
        assert set(row["weights"]) == set(row["gradients"]) == {"layer.0", "layer.1", "rest"}
        assert set(row["activations"]) == {"layer.0", "layer.1"}
        assert all(value > 0 for part in ("weights", "gradients", "activations") for value in row[part].values())
    kept = example.result(tmp_path / "True")
    del kept["statistics.jsonl"]
    assert kept == example.result(tmp_path / "False")


def test_a_phase_starts_from_the_weights_of_another(corpus: Path, tmp_path: Path) -> None:
    long = example.tiny_phase(tokens=60 * 128, optimizer={"kind": "adamw", "lr": 3e-2}, schedule={"kind": "constant"})
    example.run_training(corpus, tmp_path / "first", phase=long)
    start = tmp_path / "first" / "output" / "best"
    second = example.tiny_phase(name="second", optimizer={"kind": "adamw", "lr": 1e-3})
    example.run_training(corpus, tmp_path / "second", phase=second, start=start)
    rows = [json.loads(row) for row in (tmp_path / "second" / "output" / "curve.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] < 0.5 * math.log(example.VOCABULARY)


def test_weights_of_another_shape_or_vocabulary_are_refused(corpus: Path, tmp_path: Path) -> None:
    example.run_training(corpus, tmp_path / "first")
    start = tmp_path / "first" / "output" / "last"
    with pytest.raises(ModelError, match="another model"):
        example.run_training(corpus, tmp_path / "wider", model=example.tiny_model(width=64), start=start)
    other = example.write_corpus(tmp_path / "corpus", vocab_size=110)
    with pytest.raises(ModelError, match="vocabulary of 100, the tokens of 110"):
        example.run_training(other, tmp_path / "smaller", start=start)
