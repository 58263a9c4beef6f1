"""Names and keys of the Hugging Face layout: what `transformers.ModernBertForMaskedLM`, `...ForSequenceClassification`,
`...ForTokenClassification` and `ModernBertModel` (for embeddings: a body alone) write and read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lmpipe.models import layout, published
from lmpipe.models.heads import EmbeddingHead, Head
from lmpipe.models.layout import Stored
from lmpipe.models.modernbert import keys
from lmpipe.models.modernbert.config import LOCAL_THETA, ModernBertConfig
from lmpipe.models.modernbert.model import ModernBert

PREFIX = "model."
"""Before the names of a body under a head."""
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
}
TRANSFORM = {"head.transform.dense.weight": "head.dense.weight", "head.transform.norm.weight": "head.norm.weight"}
LABELS = TRANSFORM | {"head.out.weight": "classifier.weight", "head.out.bias": "classifier.bias"}
HEADS = {"language": TRANSFORM | {"head.decoder.bias": "decoder.bias"}, "sequence": LABELS, "token": LABELS}
ARCHITECTURES = {
    "language": "ModernBertForMaskedLM",
    "sequence": "ModernBertForSequenceClassification",
    "token": "ModernBertForTokenClassification",
    "embedding": "ModernBertModel",
}
TIED = {"head.decoder.weight": "embedding.weight"}
IGNORED = r"^decoder\.weight$"


def mapping(config: ModernBertConfig, head: Head) -> dict[str, Stored]:
    """Our parameter names to theirs, layers filled in; the tied head matrix has no entry, as on disk."""
    embeds = isinstance(head, EmbeddingHead)
    names = {ours: theirs.removeprefix(PREFIX) for ours, theirs in BODY.items()} if embeds else BODY | HEADS[head.kind]
    found = layout.expand({ours: Stored((theirs,)) for ours, theirs in names.items()}, config.layers)
    del found["blocks.0.attention_norm.weight"]
    return found


def save(model: ModernBert, folder: Path, *, end_of_text_id: int, state: dict[str, torch.Tensor] | None = None) -> None:
    """As `families.save`."""
    tensors = layout.to_disk(state or model.state_dict(), mapping(model.config, model.head_config))
    layout.write(folder, _to_json(model, end_of_text_id), tensors, end_of_text_id=None)


def load(folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32, head: Head | None = None) -> ModernBert:
    """As `bert.hf.load`."""
    value = published.json_of(folder / published.CONFIG)
    config = published.config_of(folder, keys.from_json, keys.REFUSED)
    vocab_size, saved = published.vocab_size_of(folder), published.head_of(folder)
    chosen = head or saved
    if chosen is not None and chosen.kind == "sequence" and value.get("classifier_pooling", "cls") != "cls":
        published.refuse(f"pooling by {value['classifier_pooling']!r}", "'cls': the first position")
    tensors = layout.read_tensors(folder, device)
    if isinstance(chosen, EmbeddingHead):
        tensors = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    elif not any(name.startswith(PREFIX) for name in tensors):  # saved without a head
        tensors = {PREFIX + name: tensor for name, tensor in tensors.items()}
    return layout.fill_with_head(
        lambda chosen: ModernBert(config, vocab_size, chosen),
        tensors,
        lambda chosen: mapping(config, chosen),
        saved=saved,
        head=head,
        tied=TIED,
        what=f"a ModernBERT with {config.layers} layers",
        ignored=IGNORED,
        device=device,
        dtype=dtype,
        where=folder,
        of_body=("head.transform.",),  # below every head the same, and so it is kept in Transformers, too
    )


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
