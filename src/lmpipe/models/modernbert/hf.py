"""Names and keys of the Hugging Face layout: what `transformers.ModernBertForMaskedLM`, `...ForSequenceClassification` and
`...ForTokenClassification` write and read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lmpipe.models import layout
from lmpipe.models.heads import Head
from lmpipe.models.layout import Stored
from lmpipe.models.modernbert.config import ModernBertConfig
from lmpipe.models.modernbert.model import LOCAL_THETA, ModernBert

LAYER = "model.layers.{layer}."
BODY = {
    "embedding.weight": "model.embeddings.tok_embeddings.weight",
    "embedding_norm.weight": "model.embeddings.norm.weight",
    "blocks.{layer}.attention_norm.weight": LAYER + "attn_norm.weight",
    "blocks.{layer}.attention.qkv.weight": LAYER + "attn.Wqkv.weight",
    "blocks.{layer}.attention.out.weight": LAYER + "attn.Wo.weight",
    "blocks.{layer}.feed_forward_norm.weight": LAYER + "mlp_norm.weight",
    "blocks.{layer}.feed_forward.gate_up.weight": LAYER + "mlp.Wi.weight",
    "blocks.{layer}.feed_forward.down.weight": LAYER + "mlp.Wo.weight",
    "norm.weight": "model.final_norm.weight",
    "head.transform.dense.weight": "head.dense.weight",
    "head.transform.norm.weight": "head.norm.weight",
}
LABELS = {"head.out.weight": "classifier.weight", "head.out.bias": "classifier.bias"}
HEADS = {"language": {"head.decoder.bias": "decoder.bias"}, "sequence": LABELS, "token": LABELS}
ARCHITECTURES = {
    "language": "ModernBertForMaskedLM",
    "sequence": "ModernBertForSequenceClassification",
    "token": "ModernBertForTokenClassification",
}
TIED = {"head.decoder.weight": "embedding.weight"}
IGNORED = r"^decoder\.weight$"
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


def mapping(config: ModernBertConfig, head: Head) -> dict[str, Stored]:
    """Our parameter names to theirs, layers filled in; the tied head matrix has no entry, as on disk."""
    names = BODY | HEADS[head.kind]
    found = layout.expand({ours: Stored((theirs,)) for ours, theirs in names.items()}, config.layers)
    del found["blocks.0.attention_norm.weight"]
    return found


def save(model: ModernBert, folder: Path, *, end_of_text_id: int, state: dict[str, torch.Tensor] | None = None) -> None:
    """As `families.save`."""
    tensors = layout.to_disk(state or model.state_dict(), mapping(model.config, model.head_config))
    layout.write(folder, _to_json(model, end_of_text_id), tensors, end_of_text_id=None)


def load(folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32, head: Head | None = None) -> ModernBert:
    """As `bert.hf.load`."""
    value = layout.json_of(folder / layout.CONFIG)
    config = layout.config_of(folder, _from_json, REFUSED)
    vocab_size, saved = layout.vocab_size_of(folder), layout.head_of(value)
    if (head or saved).kind == "sequence" and value.get("classifier_pooling", "cls") != "cls":
        layout.refuse(f"pooling by {value['classifier_pooling']!r}", "'cls': the first position")
    return layout.fill_with_head(
        lambda chosen: ModernBert(config, vocab_size, chosen),
        layout.read_tensors(folder, device),
        lambda chosen: mapping(config, chosen),
        saved=saved,
        head=head,
        tied=TIED,
        what=f"a ModernBERT with {config.layers} layers",
        ignored=IGNORED,
        device=device,
        dtype=dtype,
        where=folder,
    )


def _from_json(value: dict[str, Any]) -> ModernBertConfig:
    layers = value["num_hidden_layers"]
    every = value.get("global_attn_every_n_layers") or _every(value.get("layer_types"), layers)
    rope = value.get("rope_parameters") or {}
    local = rope.get("sliding_attention", {}).get("rope_theta", value.get("local_rope_theta", LOCAL_THETA))
    if local != LOCAL_THETA:
        layout.refuse(f"local rotary positions with base {local}", str(LOCAL_THETA))
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
        layout.refuse("layers of other kinds than every so many", "full_attention in layers 0, n, 2n, ...")
    return every


def _to_json(model: ModernBert, end_of_text_id: int) -> dict[str, Any]:
    config = model.config
    kinds = ["sliding_attention" if number % config.global_every else "full_attention" for number in range(config.layers)]
    return {
        "architectures": [ARCHITECTURES[model.head_config.kind]],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": end_of_text_id,
        "classifier_activation": "gelu",
        "classifier_bias": False,
        "classifier_dropout": config.dropout,
        "classifier_pooling": "cls",
        "cls_token_id": end_of_text_id,
        "decoder_bias": True,
        "embedding_dropout": config.dropout,
        "eos_token_id": end_of_text_id,
        "hidden_activation": "gelu",
        "hidden_size": config.width,
        "intermediate_size": config.feed_forward_width,
        "layer_types": kinds,
        "local_attention": config.local_window,
        "max_position_embeddings": config.context,
        "mlp_bias": False,
        "mlp_dropout": config.dropout,
        "model_type": "modernbert",
        "norm_bias": False,
        "norm_eps": config.norm_eps,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "pad_token_id": 1,
        "rope_parameters": {
            "full_attention": {"rope_theta": config.rope_theta, "rope_type": "default"},
            "sliding_attention": {"rope_theta": LOCAL_THETA, "rope_type": "default"},
        },
        "sep_token_id": end_of_text_id,
        "tie_word_embeddings": True,
        "vocab_size": model.vocab_size,
        **layout.labels_json(model.head_config),
    }
