"""Optimisers and schedules against the formulas of their papers, torch's and Transformers' own; which weights they move."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import training_example as example
from pydantic import TypeAdapter
from torch import Tensor, nn
from transformers import get_scheduler
from transformers.optimization import Adafactor

from lmpipe.base.errors import TrainingError
from lmpipe.models.llama.model import Llama
from lmpipe.training.optimizer_config import OptimizerConfig, ParameterRule
from lmpipe.training.optimizers import MasterOptimizer
from lmpipe.training.parameters import treatments
from lmpipe.training.schedule_config import ScheduleConfig
from lmpipe.training.schedules import rate_fraction

STEPS = 4


class Two(nn.Module):
    """A matrix and a bias."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.map = nn.Linear(6, 8)

    def give_gradients(self, number: int) -> list[Tensor]:
        """The same ones for everybody."""
        generator = torch.Generator().manual_seed(number)
        gradients = [torch.randn(p.shape, generator=generator) for p in self.parameters()]
        for parameter, gradient in zip(self.parameters(), gradients, strict=True):
            parameter.grad = gradient.to(parameter.dtype)
        return gradients


def config(**values: Any) -> Any:
    return TypeAdapter(OptimizerConfig).validate_python(values)


def trained(values: dict[str, Any], precision: str = "fp32") -> Two:
    model = Two()
    optimizer = MasterOptimizer(model, config(**values), precision)
    for number in range(STEPS):
        model.give_gradients(number)
        optimizer.take_gradients()
        optimizer.update((number + 1) / STEPS, None)
    return model


def with_reference(reference: Any, lr: float) -> Two:
    model = Two()
    optimizer = reference([{"params": [model.map.weight]}, {"params": [model.map.bias], "weight_decay": 0.0}])
    for number in range(STEPS):
        model.give_gradients(number)
        for group in optimizer.param_groups:
            group["lr"] = lr * (number + 1) / STEPS
        optimizer.step()
    return model


def assert_equal(ours: nn.Module, theirs: nn.Module, atol: float = 0.0) -> None:
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=atol)


def test_lion_is_the_papers_formula() -> None:
    ours = trained({"kind": "lion", "lr": 0.01, "betas": [0.8, 0.9], "weight_decay": 0.5})
    model = Two()
    weights = [p.detach().numpy().astype(np.float64) for p in model.parameters()]
    momenta = [np.zeros_like(w) for w in weights]
    for number in range(STEPS):
        rate = 0.01 * (number + 1) / STEPS
        for i, gradient in enumerate(g.numpy() for g in model.give_gradients(number)):
            decay = 0.5 if weights[i].ndim == 2 else 0.0
            weights[i] = weights[i] - rate * (np.sign(0.8 * momenta[i] + 0.2 * gradient) + decay * weights[i])
            momenta[i] = 0.9 * momenta[i] + 0.1 * gradient
    for mine, expected in zip(ours.parameters(), weights, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), expected, atol=1e-6)


def test_adafactor_is_transformers() -> None:
    ours = trained({"kind": "adafactor", "lr": 0.02})
    options = {"lr": 0.02, "scale_parameter": True, "relative_step": False, "warmup_init": False}
    assert_equal(ours, with_reference(lambda groups: Adafactor(groups, **options), 0.02), atol=1e-6)


def test_sgd_is_torchs() -> None:
    for options in ({"momentum": 0.9, "nesterov": True}, {"momentum": 0.0, "nesterov": False}):
        ours = trained({"kind": "sgd", "lr": 0.1, "weight_decay": 0.3, **options})
        assert_equal(ours, with_reference(lambda g, o=options: torch.optim.SGD(g, lr=0.1, weight_decay=0.3, **o), 0.1))


@pytest.mark.parametrize("kind", ["adamw", "muon", "lion", "adafactor", "sgd"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_optimiser_goes_on_where_it_was(kind: str, precision: str) -> None:
    whole = MasterOptimizer(first := Two(), config(kind=kind), precision)
    for number in range(2):
        first.give_gradients(number)
        whole.take_gradients()
        whole.update(0.5, 1.0)
    saved = {key: tensor.clone() for key, tensor in whole.tensors().items()}
    again = MasterOptimizer(second := Two(), config(kind=kind), precision)
    again.restore(saved)
    for number in (2, 3):
        for model, optimizer in ((first, whole), (second, again)):
            model.give_gradients(number)
            optimizer.take_gradients()
            optimizer.update(1.0, 1.0)
    assert_equal(first, second)
    for name, weight in whole.weights().items():
        assert torch.equal(weight, again.weights()[name])


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        ({"kind": "constant", "warmup_fraction": 0.2}, "constant_with_warmup", {}),
        ({"kind": "linear", "warmup_fraction": 0.2}, "linear", {}),
        ({"kind": "linear", "warmup_fraction": 0.0}, "linear", {}),
        ({"kind": "cosine", "warmup_fraction": 0.2, "final_fraction": 0.0}, "cosine", {}),
        ({"kind": "inverse_sqrt", "warmup_fraction": 0.2}, "inverse_sqrt", {}),
        ({"kind": "wsd", "warmup_fraction": 0.2, "decay_fraction": 0.3}, "warmup_stable_decay", {"decay_type": "linear"}),
    ],
)
def test_schedules_are_transformers(ours: dict[str, Any], theirs: str, options: dict[str, Any]) -> None:
    steps, warmup = 50, 10 if ours["warmup_fraction"] else 0
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    specific = {"num_decay_steps": 15, **options} if theirs == "warmup_stable_decay" else {}
    scheduler = get_scheduler(theirs, optimizer, warmup, steps, scheduler_specific_kwargs=specific)
    schedule: Any = TypeAdapter(ScheduleConfig).validate_python(ours)
    expected = []
    for _ in range(steps):  # theirs begins with a step at rate 0, ours with the first rate above it
        optimizer.step()
        scheduler.step()
        expected.append(scheduler.get_last_lr()[0])
    assert [rate_fraction(schedule, step, steps) for step in range(steps)] == pytest.approx(expected, abs=1e-9)


# ------------------------------------------------------------------------------------------------- which weights, and how


def llama(**options: Any) -> Llama:
    torch.manual_seed(1)
    return Llama(example.tiny_model(layers=3, tie_embeddings=False, dropout=0.0, **options), example.VOCABULARY)


def test_rates_fall_towards_the_input() -> None:
    found = treatments(llama(), weight_decay=0.1, layer_decay=0.5)
    assert found["head.weight"].lr_factor == found["norm.weight"].lr_factor == 1.0
    layers = [found[f"blocks.{number}.attention.out.weight"].lr_factor for number in range(3)]
    assert layers == [0.125, 0.25, 0.5]
    assert found["embedding.weight"].lr_factor == 0.0625
    assert found["norm.weight"].weight_decay == 0.0
    assert found["head.weight"].weight_decay == 0.1


def test_rules_freeze_and_treat_by_pattern_and_the_last_one_wins() -> None:
    rules = [
        ParameterRule(match="blocks.*", freeze=True),
        ParameterRule(match="blocks.2.*", lr_factor=0.5),
        ParameterRule(match="embedding.*", weight_decay=0.0),
    ]
    found = treatments(llama(), weight_decay=0.1, rules=rules)
    assert {name.split(".")[1] for name in found if name.startswith("blocks")} == {"2"}
    assert found["blocks.2.attention.out.weight"] == (0.5, 0.1)
    assert found["embedding.weight"] == (1.0, 0.0)
    with pytest.raises(TrainingError, match=r"no parameter is called 'block\.0"):
        treatments(llama(), weight_decay=0.1, rules=[ParameterRule(match="block.0.*")])
    with pytest.raises(TrainingError, match="every parameter is frozen"):
        treatments(llama(), weight_decay=0.1, rules=[ParameterRule(match="*", freeze=True)])


def test_frozen_weights_stay_and_the_rest_moves(tmp_path: Any, corpus: Any) -> None:
    rules = [{"match": "blocks.0.*", "freeze": True}]
    example.run_training(corpus, tmp_path / "some", phase=example.tiny_phase(parameters=rules, precision="bf16"))
    fresh_run = example.run_training(corpus, tmp_path / "one step", phase=example.tiny_phase(parameters=rules, tokens=128))
    assert fresh_run["steps"] == 1
    late, early = (example.weights(tmp_path / name) for name in ("some", "one step"))
    moved = {name for name in late if not torch.equal(late[name], early[name])}
    assert moved == {name for name in late if not name.startswith("model.layers.0.")}


def test_a_factor_scales_the_rate() -> None:
    def moved(rules: list[ParameterRule]) -> Tensor:
        model = Two()
        before = model.map.weight.detach().clone()
        values = config(kind="sgd", lr=0.1)
        optimizer = MasterOptimizer(model, values, "fp32", treatments(model, weight_decay=0.0, rules=rules))
        model.give_gradients(0)
        optimizer.take_gradients()
        optimizer.update(1.0, None)
        return model.map.weight.detach() - before

    slow, full = moved([ParameterRule(match="map.*", lr_factor=0.25)]), moved([])
    torch.testing.assert_close(slow, full / 4, rtol=1e-4, atol=1e-6)
    assert all(itertools.chain(slow.abs().flatten() > 0))
