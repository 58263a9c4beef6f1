"""Names and keys of the Hugging Face layout: what `transformers.LlamaForCausalLM`, and its Mistral, Qwen2 and Qwen3 variants,
write and read, and nothing else.

`PATTERNS` is the whole mapping; some of our matrices are several of theirs, stacked in that order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lmpipe.models import layout, published
from lmpipe.models.layout import Stored
from lmpipe.models.llama import keys
from lmpipe.models.llama.config import LlamaConfig, RotaryShape
from lmpipe.models.llama.model import Llama

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
LAYER = "model.layers.{layer}."
PATTERNS: dict[str, Stored] = {
    "embedding.weight": Stored(("model.embed_tokens.weight",)),
    "blocks.{layer}.attention_norm.weight": Stored((LAYER + "input_layernorm.weight",)),
    "blocks.{layer}.attention.qkv.weight": Stored(
        (LAYER + "self_attn.q_proj.weight", LAYER + "self_attn.k_proj.weight", LAYER + "self_attn.v_proj.weight")
    ),
    "blocks.{layer}.attention.out.weight": Stored((LAYER + "self_attn.o_proj.weight",)),
    "blocks.{layer}.feed_forward_norm.weight": Stored((LAYER + "post_attention_layernorm.weight",)),
    "blocks.{layer}.feed_forward.gate_up.weight": Stored((LAYER + "mlp.gate_proj.weight", LAYER + "mlp.up_proj.weight")),
    "blocks.{layer}.feed_forward.down.weight": Stored((LAYER + "mlp.down_proj.weight",)),
    "norm.weight": Stored(("model.norm.weight",)),
    "head.weight": Stored(("lm_head.weight",)),
}
QKV_BIAS = {
    "blocks.{layer}.attention.qkv.bias": Stored(
        (LAYER + "self_attn.q_proj.bias", LAYER + "self_attn.k_proj.bias", LAYER + "self_attn.v_proj.bias")
    ),
}
QK_NORM = {
    "blocks.{layer}.attention.q_norm.weight": Stored((LAYER + "self_attn.q_norm.weight",)),
    "blocks.{layer}.attention.k_norm.weight": Stored((LAYER + "self_attn.k_norm.weight",)),
}
TIED = {"head.weight": "embedding.weight"}
IGNORED = r"rotary_emb\.inv_freq$"
"""Tables of positions that old versions saved."""


def mapping(config: LlamaConfig) -> dict[str, Stored]:
    """Our parameter names to theirs, layers filled in; a tied head has no entry, as on disk."""
    more = {**(QKV_BIAS if config.qkv_bias else {}), **(QK_NORM if config.qk_norm else {})}
    return layout.expand(patterns(config, more), config.layers)


def patterns(config: RotaryShape, more: dict[str, Stored]) -> dict[str, Stored]:
    """`PATTERNS` and `more`, with the rows of each projection, without what a tied head needs not."""
    rows = (config.heads * config.head_width, *(config.key_value_heads * config.head_width,) * 2)
    found = {ours: Stored(stored.names, rows) if ".qkv." in ours else stored for ours, stored in {**PATTERNS, **more}.items()}
    return {ours: stored for ours, stored in found.items() if not (config.tie_embeddings and ours in TIED)}


def save(model: Llama, folder: Path, *, end_of_text_id: int, state: dict[str, torch.Tensor] | None = None) -> None:
    """As `families.save`."""
    tensors = layout.to_disk(state or model.state_dict(), mapping(model.config))
    layout.write(folder, _to_json(model.config, model.vocab_size, end_of_text_id), tensors, end_of_text_id=end_of_text_id)


def load(folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Llama:
    """The model in a folder, ready to predict (dropout off).

    Raises:
        ModelError: when a file is missing or damaged, or uses what this layout does not have.
    """
    config, vocab_size = published.config_of(folder, keys.from_json, keys.REFUSED), published.vocab_size_of(folder)
    tied = TIED if config.tie_embeddings else {}
    state = layout.from_disk(
        layout.read_tensors(folder, device),
        mapping(config),
        what=f"a {model_type(config)} with {config.layers} layers",
        ignored=IGNORED + (r"|^lm_head\.weight$" if tied else ""),
        where=str(folder / published.WEIGHTS),
    )
    return layout.fill(lambda: Llama(config, vocab_size), state, tied=tied, device=device, dtype=dtype, where=folder)


def model_type(config: LlamaConfig) -> str:
    """The least of the public layouts that has what this config asks for."""
    if config.qk_norm:
        return "qwen3"
    if config.qkv_bias:
        return "qwen2"
    return "mistral" if config.sliding_window else "llama"


def _to_json(config: LlamaConfig, vocab_size: int, end_of_text_id: int) -> dict[str, Any]:
    kind = model_type(config)
    value = {
        **shape_to_json(config, vocab_size, end_of_text_id),
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
    }
    if kind == "llama":
        value |= {"attention_bias": False, "mlp_bias": False}
    elif kind == "mistral":
        value |= {"sliding_window": config.sliding_window}
    else:
        window = {"sliding_window": config.sliding_window, "max_window_layers": 0} if config.sliding_window else {}
        value |= {"use_sliding_window": bool(window), **window}
    return value


def shape_to_json(config: RotaryShape, vocab_size: int, end_of_text_id: int) -> dict[str, Any]:
    """The inverse of `shape_from_json`, with what else every such model's config.json says."""
    return {
        "attention_dropout": 0.0,
        "bos_token_id": end_of_text_id,
        "eos_token_id": end_of_text_id,
        "head_dim": config.head_width,
        "hidden_act": "silu",
        "hidden_size": config.width,
        "initializer_range": 0.02,
        "intermediate_size": config.feed_forward_width,
        "max_position_embeddings": config.context,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.key_value_heads,
        "rms_norm_eps": config.norm_eps,
        "rope_parameters": {"rope_theta": config.rope_theta, "rope_type": "default"},
        "tie_word_embeddings": config.tie_embeddings,
        "use_cache": True,
        "vocab_size": vocab_size,
    }
