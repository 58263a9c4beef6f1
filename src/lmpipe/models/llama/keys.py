"""The keys of config.json in the layout of Llama, Mistral, Qwen2 and Qwen3. Knows no tensor library."""

from __future__ import annotations

from typing import Any

from lmpipe.models.llama.config import LlamaConfig
from lmpipe.models.published import refuse, rope_theta

REFUSED = {
    "model_type": ("llama", "mistral", "qwen2", "qwen3"),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "hidden_act": ("silu",),
}
"""Keys that change what is computed, with the values that ours computes; the first is the default."""


def from_json(value: dict[str, Any]) -> LlamaConfig:
    """The config that config.json stands for.

    Raises:
        ModelError: when it asks for what this layout does not have here.
    """
    kind, layers = value["model_type"], value["num_hidden_layers"]
    window = value.get("sliding_window") if kind == "mistral" or value.get("use_sliding_window") else None
    types = value.get("layer_types") or (["full_attention"] if window is None else _windowed(value, layers))
    if len(set(types)) > 1:
        refuse("layers of several kinds (some with a sliding window, some without)", "one kind of attention")
    return LlamaConfig(
        **shape_from_json({"head_dim": 128 if kind == "qwen3" else None, **value}),
        qkv_bias=kind == "qwen2",
        qk_norm=kind == "qwen3",
        sliding_window=window if types[0] == "sliding_attention" or kind == "mistral" else None,
    )


def shape_from_json(value: dict[str, Any]) -> dict[str, Any]:
    """The fields of a `RotaryShape`, but for its window, from config.json."""
    return {
        "layers": value["num_hidden_layers"],
        "width": value["hidden_size"],
        "heads": value["num_attention_heads"],
        "kv_heads": value.get("num_key_value_heads"),
        "head_dim": value.get("head_dim"),
        "feed_forward": value["intermediate_size"],
        "context": value["max_position_embeddings"],
        "rope_theta": rope_theta(value),
        "tie_embeddings": value.get("tie_word_embeddings", False),
        "norm_eps": value["rms_norm_eps"],
    }


def _windowed(value: dict[str, Any], layers: int) -> list[str]:
    """Qwen's older spelling: the first `max_window_layers` look back without a window. Every layer of a Mistral has it."""
    full = 0 if value["model_type"] == "mistral" else min(layers, value.get("max_window_layers", 28))
    return ["full_attention"] * full + ["sliding_attention"] * (layers - full)
