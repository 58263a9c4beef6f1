"""The keys of config.json in the layout of T5 v1.1. Knows no tensor library."""

from __future__ import annotations

from typing import Any

from lmpipe.models.published import refuse
from lmpipe.models.t5.config import T5Config

REFUSED = {"model_type": ("t5",), "feed_forward_proj": ("gated-gelu",)}
"""Keys that change what is computed, with the values that ours computes; the first is the default."""


def from_json(value: dict[str, Any]) -> T5Config:
    """The config that config.json stands for.

    Raises:
        ModelError: when it asks for what this layout does not have here.
    """
    if value.get("feed_forward_proj", "relu") != "gated-gelu":
        refuse(f"the feed-forward {value.get('feed_forward_proj', 'relu')!r} of the first T5", "'gated-gelu': version 1.1")
    return T5Config(
        layers=value["num_layers"],
        decoder_layers=value.get("num_decoder_layers"),
        width=value["d_model"],
        heads=value["num_heads"],
        head_dim=value["d_kv"],
        feed_forward=value["d_ff"],
        context=value.get("n_positions", 512),
        buckets=value.get("relative_attention_num_buckets", 32),
        max_distance=value.get("relative_attention_max_distance", 128),
        tie_embeddings=value.get("scale_decoder_outputs", value.get("tie_word_embeddings", True)),
        dropout=value.get("dropout_rate", 0.1),
        norm_eps=value.get("layer_norm_epsilon", 1e-6),
    )
