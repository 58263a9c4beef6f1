"""Names and files of the Hugging Face layout: what `transformers.LlamaForCausalLM` writes and reads, and nothing else.

`PATTERNS` is the whole mapping; two of our matrices are several of theirs, stacked in that order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lmpipe.base.errors import ModelError
from lmpipe.base.files import read_json, storing, sync_folder, write_json
from lmpipe.models.llama.config import LlamaConfig
from lmpipe.models.llama.model import Llama

MODEL_TYPE = "llama"
LAYER = "model.layers.{layer}."
PATTERNS: dict[str, tuple[str, ...]] = {
    "embedding.weight": ("model.embed_tokens.weight",),
    "blocks.{layer}.attention_norm.weight": (LAYER + "input_layernorm.weight",),
    "blocks.{layer}.attention.qkv.weight": (
        LAYER + "self_attn.q_proj.weight",
        LAYER + "self_attn.k_proj.weight",
        LAYER + "self_attn.v_proj.weight",
    ),
    "blocks.{layer}.attention.out.weight": (LAYER + "self_attn.o_proj.weight",),
    "blocks.{layer}.feed_forward_norm.weight": (LAYER + "post_attention_layernorm.weight",),
    "blocks.{layer}.feed_forward.gate_up.weight": (LAYER + "mlp.gate_proj.weight", LAYER + "mlp.up_proj.weight"),
    "blocks.{layer}.feed_forward.down.weight": (LAYER + "mlp.down_proj.weight",),
    "norm.weight": ("model.norm.weight",),
    "head.weight": ("lm_head.weight",),
}


def names(config: LlamaConfig) -> dict[str, tuple[str, ...]]:
    """Our parameter names to theirs, layers filled in; a tied head has no entry, as on disk."""
    mapping: dict[str, tuple[str, ...]] = {}
    for ours, theirs in PATTERNS.items():
        if ours == "head.weight" and config.tie_embeddings:
            continue
        for layer in range(config.layers if "{layer}" in ours else 1):
            mapping[ours.format(layer=layer)] = tuple(name.format(layer=layer) for name in theirs)
    return mapping


def to_hugging_face(state: dict[str, torch.Tensor], config: LlamaConfig) -> dict[str, torch.Tensor]:
    """Our state dict under their names."""
    sizes = _row_counts(config)
    tensors = {}
    for ours, theirs in names(config).items():
        rows = [sizes[name.split(".")[-2]] for name in theirs] if len(theirs) > 1 else [len(state[ours])]
        parts = torch.split(state[ours], rows)
        tensors.update({name: part.contiguous() for name, part in zip(theirs, parts, strict=True)})
    return tensors


def from_hugging_face(tensors: dict[str, torch.Tensor], config: LlamaConfig) -> dict[str, torch.Tensor]:
    """Their tensors under our names.

    Raises:
        ModelError: when a tensor is missing or there is one that the layout does not know.
    """
    mapping = names(config)
    expected = {name for theirs in mapping.values() for name in theirs}
    missing, unknown = sorted(expected - tensors.keys()), sorted(tensors.keys() - expected)
    if missing or unknown:
        raise ModelError(
            f"the weights are not those of a Llama with {config.layers} layers: "
            f"{len(missing)} missing ({', '.join(missing[:3])}), {len(unknown)} unknown ({', '.join(unknown[:3])})",
            expected="the tensors of LlamaForCausalLM",
            fix="check that config.json and model.safetensors belong together",
        )
    return {ours: torch.cat([tensors[name] for name in theirs]) for ours, theirs in mapping.items()}


def save(model: Llama, folder: Path, *, end_of_text_id: int, state: dict[str, torch.Tensor] | None = None) -> None:
    """Write config.json, generation_config.json and model.safetensors; equal models give equal bytes.

    Args:
        model: gives the configuration, and the weights where `state` is not given.
        folder: made if it is not there.
        end_of_text_id: where generation stops and documents begin.
        state: other weights of the same model, such as the best so far.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = to_hugging_face(dict(state or model.state_dict()), model.config)
    dtype = str(tensors["model.norm.weight"].dtype).removeprefix("torch.")
    write_json(folder / "config.json", _config_json(model.config, model.vocab_size, end_of_text_id, dtype))
    ids = {"bos_token_id": end_of_text_id, "eos_token_id": end_of_text_id}
    write_json(folder / "generation_config.json", {"_from_model_config": True, **ids})
    with storing(folder / "model.safetensors"):
        save_file({key: tensors[key] for key in sorted(tensors)}, folder / "model.safetensors", metadata={"format": "pt"})
    sync_folder(folder)


def load(folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Llama:
    """The model in a folder, ready to predict (dropout off).

    Raises:
        ModelError: when a file is missing or damaged, or uses what this layout does not have.
    """
    config, vocab_size = read_config(folder)
    path = folder / "model.safetensors"
    try:
        with safe_open(path, framework="pt", device=device) as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (FileNotFoundError, SafetensorError) as error:
        raise ModelError(
            f"the weights cannot be read: {error}", where=str(path), expected="a whole model.safetensors; pickle is refused"
        ) from None
    with torch.device("meta"):
        model = Llama(config, vocab_size)
    state = {key: tensor.to(dtype) for key, tensor in from_hugging_face(tensors, config).items()}
    if config.tie_embeddings:
        state["head.weight"] = state["embedding.weight"]
    _check_shapes(model, state, path)
    model.load_state_dict(state, assign=True)
    if config.tie_embeddings:
        model.head.weight = model.embedding.weight
    model.materialise_rotary(device)
    return model.eval()


def read_config(folder: Path) -> tuple[LlamaConfig, int]:
    """The configuration and vocabulary size in a folder's config.json; keys by an allow-list, unknown behaviour refused.

    Raises:
        ModelError: when it is not there, not a Llama, or sets something that this layout does not have.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError("there is no model", where=str(path), expected="a folder with config.json and model.safetensors")
    value = read_json(path)
    refused = {"attention_bias": False, "mlp_bias": False, "hidden_act": "silu", "rope_scaling": None, "model_type": MODEL_TYPE}
    for key, expected in refused.items():
        if value.get(key, expected) != expected:
            raise ModelError(f"config.json sets {key} to {value[key]!r}", where=str(path), expected=f"{expected!r}")
    rope = value.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        raise ModelError(f"rotary positions of type {rope['rope_type']!r}", where=str(path), expected="'default'")
    config = LlamaConfig(
        layers=value["num_hidden_layers"],
        width=value["hidden_size"],
        heads=value["num_attention_heads"],
        kv_heads=value.get("num_key_value_heads"),
        feed_forward=value["intermediate_size"],
        context=value["max_position_embeddings"],
        rope_theta=rope.get("rope_theta", value.get("rope_theta", 10_000.0)),
        tie_embeddings=value.get("tie_word_embeddings", False),
        norm_eps=value["rms_norm_eps"],
    )
    return config, int(value["vocab_size"])


def _config_json(config: LlamaConfig, vocab_size: int, end_of_text_id: int, dtype: str) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": end_of_text_id,
        "dtype": dtype,
        "eos_token_id": end_of_text_id,
        "head_dim": config.head_width,
        "hidden_act": "silu",
        "hidden_size": config.width,
        "initializer_range": 0.02,
        "intermediate_size": config.feed_forward_width,
        "max_position_embeddings": config.context,
        "mlp_bias": False,
        "model_type": MODEL_TYPE,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.key_value_heads,
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": {"rope_theta": config.rope_theta, "rope_type": "default"},
        "tie_word_embeddings": config.tie_embeddings,
        "use_cache": True,
        "vocab_size": vocab_size,
    }


def _row_counts(config: LlamaConfig) -> dict[str, int]:
    return {
        "q_proj": config.heads * config.head_width,
        "k_proj": config.key_value_heads * config.head_width,
        "v_proj": config.key_value_heads * config.head_width,
        "gate_proj": config.feed_forward_width,
        "up_proj": config.feed_forward_width,
    }


def _check_shapes(model: Llama, state: dict[str, torch.Tensor], path: Path) -> None:
    for key, parameter in model.state_dict().items():
        if state[key].shape != parameter.shape:
            raise ModelError(
                f"'{key}' has the shape {tuple(state[key].shape)}",
                where=str(path),
                expected=f"{tuple(parameter.shape)}, as config.json says",
            )
