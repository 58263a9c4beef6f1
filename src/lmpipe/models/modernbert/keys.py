"""The keys of config.json in the layout of ModernBERT. Knows no tensor library."""

from __future__ import annotations

from typing import Any

from lmpipe.models.modernbert.config import LOCAL_THETA, ModernBertConfig
from lmpipe.models.published import refuse

REFUSED = {
    "model_type": ("modernbert",),
    "hidden_activation": ("gelu",),
    "classifier_activation": ("gelu",),
    "norm_bias": (False,),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "classifier_bias": (False,),
    "decoder_bias": (True,),
    "tie_word_embeddings": (True,),
}
"""Keys that change what is computed, with the values that ours computes; the first is the default."""


def from_json(value: dict[str, Any]) -> ModernBertConfig:
    """The config that config.json stands for.

    Raises:
        ModelError: when it asks for what this layout does not have here.
    """
    layers = value["num_hidden_layers"]
    every = value.get("global_attn_every_n_layers") or _every(value.get("layer_types"), layers)
    rope = value.get("rope_parameters") or {}
    local = rope.get("sliding_attention", {}).get("rope_theta", value.get("local_rope_theta", LOCAL_THETA))
    if local != LOCAL_THETA:
        refuse(f"local rotary positions with base {local}", str(LOCAL_THETA))
    return ModernBertConfig(
        layers=layers,
        width=value["hidden_size"],
        heads=value["num_attention_heads"],
        feed_forward=value["intermediate_size"],
        context=value["max_position_embeddings"],
        global_every=every,
        local_window=value.get("local_attention", 128),
        rope_theta=rope.get("full_attention", {}).get("rope_theta", value.get("global_rope_theta", 160_000.0)),
        dropout=value.get("mlp_dropout", 0.0),
        norm_eps=value.get("norm_eps", 1e-5),
    )


def _every(types: list[str] | None, layers: int) -> int:
    """After how many layers the whole text is seen again, where the kinds of the layers are written out."""
    if types is None:
        return 3
    repeats = [number for number in range(1, layers) if types[number] == "full_attention"]
    every = repeats[0] if repeats else layers
    if types != ["sliding_attention" if number % every else "full_attention" for number in range(layers)]:
        refuse("layers of other kinds than every so many", "full_attention in layers 0, n, 2n, ...")
    return every
