"""Pruning: which weights go, when, and that they are zero in all that is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import training_example as example
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from torch.nn.utils import prune

from lmpipe.base.errors import TrainingError
from lmpipe.base.files import read_json
from lmpipe.training.config import PhaseConfig
from lmpipe.training.sparsity import pruning_steps, smallest, smallest_two_of_four
from lmpipe.training.sparsity_config import MagnitudeConfig, TwoFourConfig

MAGNITUDE = {"kind": "magnitude", "share": 0.75, "times": 4}


def hidden(folder: Path, name: str = "last") -> dict[str, Tensor]:
    """The saved matrices that may be pruned."""
    found = example.weights(folder, name)
    return {key: matrix for key, matrix in found.items() if ".layers." in key and matrix.ndim == 2}


def zeros(matrices: dict[str, Tensor]) -> int:
    return sum(int((matrix == 0).sum()) for matrix in matrices.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["best", "last"])
def test_the_share_of_saved_weights_that_was_asked_for_is_zero(name: str, precision: str, corpus: Path, tmp_path: Path) -> None:
    options = {"average": {"decay": 0.9}, "optimizer": {"kind": "muon"}} if precision == "fp32" else {}
    phase = example.tiny_phase(sparsity=MAGNITUDE, precision=precision, **options)
    facts = example.run_training(corpus, tmp_path, phase=phase)
    saved = hidden(tmp_path, name)
    count = sum(matrix.numel() for matrix in saved.values())
    told = {"kind": "magnitude", "pruned": round(0.75 * count), "of": count, "share": round(0.75 * count) / count}
    assert zeros(saved) == round(0.75 * count)
    assert facts["sparsity"] == read_json(tmp_path / "output" / "training.json")["sparsity"] == told
    others = {key: matrix for key, matrix in example.weights(tmp_path, name).items() if key not in saved}
    assert zeros(others) == 0


def test_each_matrix_by_itself(corpus: Path, tmp_path: Path) -> None:
    phase = example.tiny_phase(sparsity={**MAGNITUDE, "scope": "matrix"}, optimizer={"kind": "sgd"})
    example.run_training(corpus, tmp_path, phase=phase)
    whole = {key: matrix for key, matrix in hidden(tmp_path).items() if "o_proj" in key or "down_proj" in key}
    assert [zeros({key: matrix}) / matrix.numel() for key, matrix in whole.items()] == [0.75] * 4


def test_two_of_every_four_inputs(corpus: Path, tmp_path: Path) -> None:
    example.run_training(corpus, tmp_path, phase=example.tiny_phase(sparsity={"kind": "2:4", "start": 0.3}))
    for matrix in hidden(tmp_path, "best").values():
        assert torch.equal((matrix.reshape(-1, 4) == 0).sum(1), torch.full((matrix.numel() // 4,), 2))


def test_best_weights_and_an_early_stop_are_after_the_last_pruning(corpus: Path, tmp_path: Path) -> None:
    """At a rate of nearly nothing the dense weights are the best, and no validation is an improvement."""
    phase = example.tiny_phase(
        sparsity={**MAGNITUDE, "end": 0.5},
        optimizer={"kind": "adamw", "lr": 1e-12},
        validation={"every_tokens": 128, "tokens": 128},
        early_stopping={"patience": 1, "min_delta": 1.0},
    )
    facts = example.run_training(corpus, tmp_path, phase=phase)
    assert facts["stopped_early"]
    assert facts["best_step"] == 7
    assert zeros(hidden(tmp_path, "best")) == facts["sparsity"]["pruned"] == round(0.75 * facts["sparsity"]["of"])


def test_a_later_phase_holds_the_zeros_of_the_first_weights(corpus: Path, tmp_path: Path) -> None:
    at_once = {"kind": "magnitude", "share": 0.5, "end": 0.0}
    example.run_training(corpus, tmp_path / "first", phase=example.tiny_phase(sparsity=at_once))
    start = tmp_path / "first" / "output" / "best"
    example.run_training(corpus, tmp_path / "then", phase=example.tiny_phase(sparsity=at_once), start=start)
    before, after = hidden(tmp_path / "first", "best"), hidden(tmp_path / "then")
    assert all(torch.equal(before[key] == 0, after[key] == 0) for key in before)


def test_the_schedule_is_that_of_zhu_and_gupta() -> None:
    found = pruning_steps(MagnitudeConfig(share=0.9, start=0.1, end=0.6, times=50), 1000)
    assert list(found) == list(range(110, 601, 10))
    for step, share in found.items():
        assert share == pytest.approx(0.9 + (0 - 0.9) * (1 - (step - 100) / 500) ** 3)
    assert pruning_steps(MagnitudeConfig(share=0.9, end=0.99), 1) == {0: pytest.approx(0.9)}
    assert pruning_steps(TwoFourConfig(), 7) == {0: 0.5}


@given(st.integers(1, 6), st.integers(1, 6), st.floats(0.01, 0.99), st.integers(0, 9))
def test_the_smallest_are_those_of_torch_and_what_was_pruned_stays(rows: int, columns: int, share: float, seed: int) -> None:
    torch.manual_seed(seed)
    matrices = {"a": torch.randn(rows, columns), "b": torch.randn(columns, rows)}
    layers = {name: torch.nn.ParameterDict({"weight": matrix.clone()}) for name, matrix in matrices.items()}
    prune.global_unstructured([(layer, "weight") for layer in layers.values()], prune.L1Unstructured, amount=share)
    found = smallest(matrices, share, {})
    assert all(torch.equal(found[name], layers[name].weight_mask == 0) for name in matrices)
    more = smallest({name: torch.zeros_like(matrix) for name, matrix in matrices.items()}, share, found)
    assert all(torch.equal(found[name], more[name]) for name in matrices)


def test_of_four_the_two_smallest_and_of_equals_the_first() -> None:
    found = smallest_two_of_four(torch.tensor([[3.0, -1.0, 2.0, -4.0], [1.0, 1.0, 1.0, 1.0]]))
    assert found.tolist() == [[False, True, True, False], [True, True, False, False]]


def test_pairs_that_cannot_be_are_refused(corpus: Path, tmp_path: Path) -> None:
    values = {"name": "p", "on": "c", "tokens": 1}
    with pytest.raises(ValidationError, match="with an adapter they stay"):
        PhaseConfig.model_validate({**values, "sparsity": {"kind": "2:4"}, "adapter": {"kind": "lora"}})
    with pytest.raises(ValidationError, match=r"before start at 0\.6"):
        MagnitudeConfig(start=0.6, end=0.5)
    narrow = example.tiny_model(width=18, heads=3)
    with pytest.raises(TrainingError, match=r"2:4 takes two of every four inputs, and 'blocks\.0\..* has 18"):
        example.run_training(corpus, tmp_path, model=narrow, phase=example.tiny_phase(sparsity={"kind": "2:4"}))
    frozen = example.tiny_phase(sparsity={"kind": "2:4"}, parameters=[{"match": "blocks.*", "freeze": True}])
    with pytest.raises(TrainingError, match="no hidden matrix learns"):
        example.run_training(corpus, tmp_path, phase=frozen)
