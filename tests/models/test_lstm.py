"""Recurrent networks against torch's own layers, and what only they promise: a state that goes on without end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lmpipe.models.families import build, parameter_count, save
from lmpipe.models.generate import TextGenerator
from lmpipe.models.loading import load_model
from lmpipe.models.lstm.config import LstmConfig
from lmpipe.models.lstm.model import Lstm

VOCABULARY, WIDTH = 50, 24
CELLS = {"lstm": torch.nn.LSTM, "rnn": torch.nn.RNN}


def make(cell: str = "lstm", **options: object) -> Lstm:
    torch.manual_seed(0)
    config = LstmConfig.model_validate({"cell": cell, "layers": 2, "width": WIDTH, "context": 16, **options})
    network = build(config, VOCABULARY).eval()
    assert isinstance(network, Lstm)
    return network


def some_ids(length: int = 30, rows: int = 3, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [True, False])
def test_the_saved_weights_are_those_of_torchs_own_layers(cell: str, tied: bool, tmp_path: Path) -> None:
    network = make(cell, tie_embeddings=tied)
    save(network, tmp_path, end_of_text_id=0)
    tensors = load_file(tmp_path / "model.safetensors")
    layers = CELLS[cell](WIDTH, WIDTH, num_layers=2, batch_first=True)
    layers.load_state_dict({name.removeprefix("rnn."): t for name, t in tensors.items() if name.startswith("rnn.")})
    head = tensors["embedding.weight" if tied else "head.weight"]
    with torch.inference_mode():
        states, _ = layers(tensors["embedding.weight"][some_ids()])
        expected = states @ head.T + tensors["head.bias"]
        assert (network(some_ids()) - expected).abs().max() <= 1e-5
        # Weights read from a file lie elsewhere in memory, where BLAS may sum in another order: on one machine, not on another.
        assert (load_model(tmp_path)(some_ids()) - network(some_ids())).abs().max() <= 1e-6
    assert parameter_count(network.config, VOCABULARY) == sum(tensor.numel() for tensor in tensors.values())


@pytest.mark.parametrize("cell", CELLS)
def test_a_carried_state_gives_the_logits_of_the_whole(cell: str) -> None:
    network, cache = make(cell), make(cell).new_cache(3, 16)
    with torch.inference_mode():
        parts = [network(part, cache=cache) for part in some_ids().split([1, 20, 2, 7], dim=1)]
        assert (torch.cat(parts, dim=1) - network(some_ids())).abs().max() <= 1e-5


@pytest.mark.parametrize("cell", CELLS)
def test_every_document_of_a_row_begins_with_an_empty_state(cell: str) -> None:
    network = make(cell)
    lengths = ([30], [7, 1, 22], [15, 15])
    segments = torch.tensor([[number for number, n in enumerate(row) for _ in range(n)] for row in lengths])
    with torch.inference_mode():
        together = network(some_ids(), segments)
        for row, parts in enumerate(lengths):
            alone = [network(part) for part in some_ids()[row : row + 1].split(parts, dim=1)]
            assert (together[row] - torch.cat(alone, dim=1)[0]).abs().max() <= 1e-5


def test_dropout_takes_the_same_activations_at_every_position() -> None:
    network = make(dropout=0.5).train()
    dropped = network._drop(torch.ones(4, 9, WIDTH))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))


def test_gradients_reach_every_weight_through_packed_rows() -> None:
    network = make(dropout=0.1).train()
    segments = torch.tensor([[0] * 11 + [1] * 19] * 3)
    network(some_ids(), segments).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_text_longer_than_the_context_is_written_and_scored_with_everything_before_it() -> None:
    network = make()
    generator = TextGenerator(network)
    settings = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0, "stop_ids": ()}
    ids = [0, 7]
    for token in generator.generate([0, 7], max_new_tokens=50, **settings):
        with torch.inference_mode():
            assert token == int(network(torch.tensor([ids]))[0, -1].argmax())
        ids.append(token)
    scores = generator.log_probabilities(np.array(ids))
    with torch.inference_mode():
        exact = torch.log_softmax(network(torch.tensor([[0, *ids[:-1]]]))[0], -1)
    expected = exact[torch.arange(len(ids)), torch.tensor(ids)]
    assert np.abs(scores - expected.numpy()).max() <= 1e-5
