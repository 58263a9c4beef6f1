"""Names and keys of the Hugging Face layout: what `transformers.BertForMaskedLM`, `...ForSequenceClassification`,
`...ForTokenClassification`, `BertModel` (for embeddings: a body alone) and their RoBERTa twins write and read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lmpipe.models import layout, published
from lmpipe.models.bert import keys
from lmpipe.models.bert.config import BertConfig
from lmpipe.models.bert.model import Bert
from lmpipe.models.heads import EmbeddingHead, Head
from lmpipe.models.layout import Stored

LAYER = "encoder.layer.{layer}."
BODY: dict[str, tuple[str, ...]] = {
    "embedding": ("embeddings.word_embeddings",),
    "positions": ("embeddings.position_embeddings",),
    "types": ("embeddings.token_type_embeddings",),
    "embedding_norm": ("embeddings.LayerNorm",),
    "blocks.{layer}.attention.qkv": tuple(f"{LAYER}attention.self.{name}" for name in ("query", "key", "value")),
    "blocks.{layer}.attention.out": (LAYER + "attention.output.dense",),
    "blocks.{layer}.attention_norm": (LAYER + "attention.output.LayerNorm",),
    "blocks.{layer}.feed_forward.up": (LAYER + "intermediate.dense",),
    "blocks.{layer}.feed_forward.down": (LAYER + "output.dense",),
    "blocks.{layer}.feed_forward_norm": (LAYER + "output.LayerNorm",),
}
HEADS: dict[str, dict[str, dict[str, str]]] = {
    "bert": {
        "language": {
            "head.transform.dense": "cls.predictions.transform.dense",
            "head.transform.norm": "cls.predictions.transform.LayerNorm",
            "head.decoder": "cls.predictions",
        },
        "sequence": {"head.dense": "bert.pooler.dense", "head.out": "classifier"},
        "token": {"head.out": "classifier"},
        "embedding": {},
    },
    "roberta": {
        "language": {
            "head.transform.dense": "lm_head.dense",
            "head.transform.norm": "lm_head.layer_norm",
            "head.decoder": "lm_head",
        },
        "sequence": {"head.dense": "classifier.dense", "head.out": "classifier.out_proj"},
        "token": {"head.out": "classifier"},
        "embedding": {},
    },
}
ARCHITECTURES = {
    "language": "ForMaskedLM",
    "sequence": "ForSequenceClassification",
    "token": "ForTokenClassification",
    "embedding": "Model",
}
WITHOUT_BIAS = ("embedding", "positions", "types")
TIED = {"head.decoder.weight": "embedding.weight"}
POOLER = {"bert": ("head.dense.",), "roberta": ()}
"""What a BERT's body has and only its head for whole texts uses: as in Transformers, it is loaded from a body that was saved
alone."""
IGNORED = r"position_ids$|^cls\.seq_relationship|predictions\.decoder\.|^lm_head\.decoder\.|(^|\.)pooler\."
"""Tables of positions, next-sentence heads and copies of tied matrices."""


def mapping(config: BertConfig, head: Head) -> dict[str, Stored]:
    """Our parameter names to theirs, layers filled in; the tied head matrix has no entry, as on disk."""
    prefix = "" if isinstance(head, EmbeddingHead) else f"{config.layout}."
    prefixed = {ours: tuple(prefix + name for name in theirs) for ours, theirs in BODY.items()}
    modules = prefixed | {ours: (theirs,) for ours, theirs in HEADS[config.layout][head.kind].items()}
    patterns = {
        f"{ours}.{part}": Stored(tuple(f"{name}.{part}" for name in theirs))
        for ours, theirs in modules.items()
        for part in ("weight", "bias")
        if not (part == "bias" and ours in WITHOUT_BIAS) and f"{ours}.{part}" not in TIED
    }
    return layout.expand(patterns, config.layers)


def save(model: Bert, folder: Path, *, end_of_text_id: int, state: dict[str, torch.Tensor] | None = None) -> None:
    """As `families.save`."""
    tensors = layout.to_disk(state or model.state_dict(), mapping(model.config, model.head_config))
    layout.write(folder, _to_json(model, end_of_text_id), tensors, end_of_text_id=None)


def load(folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32, head: Head | None = None) -> Bert:
    """The model in a folder, ready to predict (dropout off).

    Args:
        folder: the model's.
        device: where it goes.
        dtype: of the weights.
        head: instead of the one that was saved: its weights are drawn anew (seed torch's generator first).

    Raises:
        ModelError: when a file is missing or damaged, or uses what this layout does not have.
    """
    config = published.config_of(folder, keys.from_json, keys.REFUSED)
    vocab_size, saved = published.vocab_size_of(folder), published.head_of(folder)
    tensors, prefix = layout.read_tensors(folder, device), f"{config.layout}."
    if isinstance(head or saved, EmbeddingHead):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    elif not any(name.startswith(prefix) for name in tensors):  # saved without a head
        tensors = {prefix + name: tensor for name, tensor in tensors.items()}
    return layout.fill_with_head(
        lambda chosen: Bert(config, vocab_size, chosen),
        tensors,
        lambda chosen: mapping(config, chosen),
        saved=saved,
        head=head,
        tied=TIED,
        what=f"a {config.layout} encoder with {config.layers} layers",
        ignored=IGNORED,
        device=device,
        dtype=dtype,
        where=folder,
        of_body=POOLER[config.layout],
    )


def _to_json(model: Bert, end_of_text_id: int) -> dict[str, Any]:
    config = model.config
    return {
        "architectures": [{"bert": "Bert", "roberta": "Roberta"}[config.layout] + ARCHITECTURES[model.head_config.kind]],
        "attention_probs_dropout_prob": 0.0,
        "bos_token_id": end_of_text_id,
        "eos_token_id": end_of_text_id,
        "hidden_act": "gelu",
        "hidden_dropout_prob": config.dropout,
        "hidden_size": config.width,
        "initializer_range": 0.02,
        "intermediate_size": config.feed_forward_width,
        "layer_norm_eps": config.norm_eps,
        "max_position_embeddings": config.position_rows,
        "model_type": config.layout,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "pad_token_id": 1,
        "type_vocab_size": config.token_types,
        "vocab_size": model.vocab_size,
        **layout.labels_json(model.head_config),
    }
