"""Our decoders against Transformers: the same files give the same logits, both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MixtralForCausalLM

from lmpipe.base.files import read_json
from lmpipe.models.config import ModelConfig
from lmpipe.models.families import build, flops_per_token, parameter_count, save
from lmpipe.models.loading import load_model
from lmpipe.models.network import Decoder

VOCABULARY, CONTEXT = 101, 48
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama, tied": ("llama", {"kind": "llama", "tie_embeddings": True}),
    "llama, untied": ("llama", {"kind": "llama", "tie_embeddings": False}),
    "llama, grouped": ("llama", {"kind": "llama", "kv_heads": 2}),
    "llama, other numbers": ("llama", {"kind": "llama", "feed_forward": 200, "rope_theta": 5e5, "norm_eps": 1e-6}),
    "mistral": ("mistral", {"kind": "llama", "kv_heads": 2, "sliding_window": 10, "head_dim": 6}),
    "qwen2": ("qwen2", {"kind": "llama", "kv_heads": 2, "qkv_bias": True}),
    "qwen2 with a window": ("qwen2", {"kind": "llama", "qkv_bias": True, "sliding_window": 7}),
    "qwen3": ("qwen3", {"kind": "llama", "kv_heads": 2, "qk_norm": True, "head_dim": 16, "tie_embeddings": False}),
    "gpt2": ("gpt2", {"kind": "gpt2"}),
    "gpt2, untied": ("gpt2", {"kind": "gpt2", "tie_embeddings": False, "feed_forward": 72}),
    "mixtral": ("mixtral", {"kind": "mixtral", "experts": 4, "kv_heads": 2, "feed_forward": 40}),
    "mixtral, tied": ("mixtral", {"kind": "mixtral", "experts": 3, "experts_per_token": 1, "sliding_window": 9}),
}
CACHED = ["llama, tied", "llama, grouped", "mistral", "qwen3", "gpt2", "mixtral"]


def make(shape: str) -> Decoder:
    torch.manual_seed(0)
    options = {"layers": 2, "width": 32, "heads": 4, "context": CONTEXT, "tie_embeddings": True, **SHAPES[shape][1]}
    network = build(TypeAdapter(ModelConfig).validate_python(options), VOCABULARY).eval()
    assert isinstance(network, Decoder)
    with torch.no_grad():  # norms that do something, and logits well away from uniform
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def some_ids(rows: int = 3) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (rows, CONTEXT), generator=torch.Generator().manual_seed(1))


def furthest(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_reads_what_we_write_and_we_read_what_it_writes(shape: str, tmp_path: Path) -> None:
    network = make(shape)
    save(network, tmp_path / "ours", end_of_text_id=0)
    assert read_json(tmp_path / "ours" / "config.json")["model_type"] == SHAPES[shape][0]
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_model(tmp_path / "theirs")
    assert again.config == network.config.model_copy(update=network.config.resolved())
    with torch.inference_mode():
        assert furthest(network(some_ids()), theirs(some_ids()).logits) <= 1e-5
        assert torch.equal(network(some_ids()), again(some_ids()))
    counted = parameter_count(network.config, VOCABULARY)
    assert counted == sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in again.parameters())


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_networks_are_saved_as_equal_bytes(shape: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        save(make(shape), tmp_path / name, end_of_text_id=0)
    for file in ("config.json", "generation_config.json", "model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize("shape", CACHED)
@pytest.mark.parametrize("steps", [(48,), (1,) * 48, (20, 1, 7, 20)])
def test_a_cache_gives_the_logits_of_the_whole(shape: str, steps: tuple[int, ...]) -> None:
    network = make(shape)
    cache = network.new_cache(2, CONTEXT)
    with torch.inference_mode():
        parts = [network(part, cache=cache) for part in some_ids(2).split(list(steps), dim=1)]
        assert furthest(torch.cat(parts, dim=1), network(some_ids(2))) <= 1e-5


@pytest.mark.parametrize("shape", ["llama, tied", "mistral", "gpt2", "mixtral"])
def test_nothing_crosses_a_border_between_documents(shape: str) -> None:
    network = make(shape)
    first, second, other = some_ids(1)[:, :20], some_ids(1)[:, 20:], some_ids(2)[1:, :20]
    segments = torch.tensor([[0] * 20 + [1] * 28])
    with torch.inference_mode():
        together = network(torch.cat((first, second), dim=1), segments)
        changed = network(torch.cat((other, second), dim=1), segments)
        assert furthest(together[:, :20], network(first)) <= 1e-5
        assert furthest(together[:, 20:], network(second)) <= 1e-5
        assert torch.equal(together[:, 20:], changed[:, 20:])


@pytest.mark.parametrize("shape", ["llama, grouped", "mistral", "qwen2", "qwen3", "gpt2", "mixtral"])
def test_training_computes_what_predicting_computes(shape: str) -> None:
    network = make(shape)
    with torch.no_grad():
        assert furthest(network.train()(some_ids()), network.eval()(some_ids())) <= 1e-5


def test_the_balance_loss_is_that_of_transformers(tmp_path: Path) -> None:
    network = make("mixtral")
    save(network, tmp_path, end_of_text_id=0)
    theirs = MixtralForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    expected = float(theirs(some_ids(), output_router_logits=True).aux_loss.detach())
    assert network(some_ids()) is not None
    assert network.auxiliary_loss is None
    network.train()(some_ids())
    found = network.auxiliary_loss
    assert found is not None
    assert float(found.detach()) == pytest.approx(network.config.balance_loss * expected, rel=1e-5)
    found.backward()
    assert network.blocks[0].feed_forward.router.weight.grad.abs().sum() > 0


def test_every_expert_is_learned_and_an_idle_one_does_no_harm() -> None:
    network = make("mixtral").train()
    with torch.no_grad():
        network.blocks[0].feed_forward.router.weight[2].fill_(0)
    network(some_ids()).square().mean().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


def test_operations_count_the_chosen_experts_only() -> None:
    config, fewer = make("mixtral").config, make("mixtral").config.model_copy(update={"experts": 2})
    router = 6 * 2 * config.width * 2  # two more rows in each of two routers
    assert flops_per_token(config, VOCABULARY) - flops_per_token(fewer, VOCABULARY) == router


def test_weights_in_several_files_are_read(tmp_path: Path) -> None:
    config = LlamaConfig(
        hidden_size=32,
        num_attention_heads=4,
        num_hidden_layers=2,
        vocab_size=VOCABULARY,
        intermediate_size=64,
        max_position_embeddings=CONTEXT,
    )
    theirs = LlamaForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert not (tmp_path / "model.safetensors").exists()
    with torch.inference_mode():
        assert furthest(load_model(tmp_path)(some_ids()), theirs(some_ids()).logits) <= 1e-5
