"""The keys of config.json in the layout of BERT and RoBERTa. Knows no tensor library."""

from __future__ import annotations

from typing import Any

from lmpipe.models.bert.config import ROBERTA_OFFSET, BertConfig
from lmpipe.models.published import refuse

REFUSED = {
    "model_type": ("bert", "roberta"),
    "hidden_act": ("gelu",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "position_embedding_type": ("absolute", None),
    "tie_word_embeddings": (True,),
}
"""Keys that change what is computed, with the values that ours computes; the first is the default."""


def from_json(value: dict[str, Any]) -> BertConfig:
    """The config that config.json stands for.

    Raises:
        ModelError: when it asks for what this layout does not have here.
    """
    kind = value["model_type"]
    if kind == "roberta" and value.get("pad_token_id", 1) != ROBERTA_OFFSET - 1:
        refuse(f"padding with the id {value['pad_token_id']}", "1, which RoBERTa's positions hang on")
    if value.get("type_vocab_size", 2) != (2 if kind == "bert" else 1):
        refuse(f"{value['type_vocab_size']} types of text", "2 in a BERT, 1 in a RoBERTa")
    return BertConfig(
        layout=kind,
        layers=value["num_hidden_layers"],
        width=value["hidden_size"],
        heads=value["num_attention_heads"],
        feed_forward=value["intermediate_size"],
        context=value["max_position_embeddings"] - (ROBERTA_OFFSET if kind == "roberta" else 0),
        dropout=value.get("hidden_dropout_prob", 0.1),
        norm_eps=value.get("layer_norm_eps", 1e-12),
    )
