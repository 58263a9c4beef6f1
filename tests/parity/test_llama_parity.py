"""Our Llama against Transformers: the same files give the same logits, both ways."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from lmpipe.base.files import read_json
from lmpipe.models.layers.attention import Cache
from lmpipe.models.llama.config import LlamaConfig, parameter_count
from lmpipe.models.llama.hf import load, save
from lmpipe.models.llama.model import Llama

SHAPES = {
    "tied": {"tie_embeddings": True},
    "untied": {"tie_embeddings": False},
    "grouped": {"kv_heads": 2},
    "wide feed-forward, other theta": {"feed_forward": 200, "rope_theta": 500_000.0, "norm_eps": 1e-6},
    "mistral": {"kv_heads": 2, "sliding_window": 10, "head_dim": 6},
    "qwen2": {"kv_heads": 2, "qkv_bias": True},
    "qwen2 with a window": {"qkv_bias": True, "sliding_window": 7},
    "qwen3": {"kv_heads": 2, "qk_norm": True, "head_dim": 16, "tie_embeddings": False},
}
LAYOUTS = {"mistral": "mistral", "qwen2": "qwen2", "qwen2 with a window": "qwen2", "qwen3": "qwen3"}


def make(options: dict[str, object]) -> Llama:
    torch.manual_seed(0)
    config = LlamaConfig.model_validate({"layers": 2, "width": 32, "heads": 4, "context": 48, **options})
    model = Llama(config, 101).eval()
    with torch.no_grad():  # norms that do something, and logits well away from uniform
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def resolved(model: Llama) -> dict[str, object]:
    config = model.config
    return {
        "kv_heads": config.key_value_heads,
        "head_dim": config.head_width,
        "feed_forward": config.feed_forward_width,
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_reads_what_we_write(shape: str, tmp_path: Path) -> None:
    model = make(SHAPES[shape])
    save(model, tmp_path, end_of_text_id=0)
    assert read_json(tmp_path / "config.json")["model_type"] == LAYOUTS.get(shape, "llama")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ids = torch.randint(0, 101, (3, 48))
    with torch.inference_mode():
        assert (model(ids) - theirs(ids).logits).abs().max() <= 1e-5
    assert sum(p.numel() for p in theirs.parameters()) == parameter_count(model.config, 101)


@pytest.mark.parametrize("shape", SHAPES)
def test_we_read_what_transformers_writes(shape: str, tmp_path: Path) -> None:
    model = make(SHAPES[shape])
    save(model, tmp_path / "ours", end_of_text_id=0)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    again = load(tmp_path / "theirs")
    assert again.config == model.config.model_copy(update=resolved(model))
    ids = torch.randint(0, 101, (3, 48))
    with torch.inference_mode():
        assert (again(ids) - theirs(ids).logits).abs().max() <= 1e-5
    assert sum(p.numel() for p in again.parameters()) == parameter_count(model.config, 101)


@pytest.mark.parametrize("shape", ["tied", "grouped", "mistral", "qwen3"])
@pytest.mark.parametrize("steps", [(48,), (1,) * 48, (20, 1, 7, 20)])
def test_a_cache_gives_the_logits_of_the_whole(shape: str, steps: tuple[int, ...]) -> None:
    model = make(SHAPES[shape])
    ids = torch.randint(0, 101, (2, 48))
    cache: list[Cache] = model.new_cache(2, 48)
    with torch.inference_mode():
        parts = [model(part, cache=cache) for part in ids.split(list(steps), dim=1)]
        assert (torch.cat(parts, dim=1) - model(ids)).abs().max() <= 1e-5


def test_attention_stays_inside_a_document() -> None:
    model = make({})
    first, second = torch.randint(0, 101, (1, 20)), torch.randint(0, 101, (1, 28))
    segments = torch.tensor([[0] * 20 + [1] * 28])
    with torch.inference_mode():
        together = model(torch.cat((first, second), dim=1), segments)
        other = model(torch.cat((torch.randint(0, 101, (1, 20)), second), dim=1), segments)
        assert (together[:, :20] - model(first)).abs().max() <= 1e-5
        assert torch.equal(together[:, 20:], other[:, 20:])
