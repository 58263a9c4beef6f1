"""The keys of config.json in the layout of GPT-2. Knows no tensor library."""

from __future__ import annotations

from typing import Any

from lmpipe.models.gpt2.config import Gpt2Config

REFUSED = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
"""Keys that change what is computed, with the values that ours computes; the first is the default."""


def from_json(value: dict[str, Any]) -> Gpt2Config:
    """The config that config.json stands for.

    Raises:
        ModelError: when it asks for what this layout does not have here.
    """
    return Gpt2Config(
        layers=value["n_layer"],
        width=value["n_embd"],
        heads=value["n_head"],
        feed_forward=value.get("n_inner"),
        context=value["n_positions"],
        tie_embeddings=value.get("tie_word_embeddings", True),
        dropout=value.get("resid_pdrop", 0.1),
        norm_eps=value.get("layer_norm_epsilon", 1e-5),
    )
