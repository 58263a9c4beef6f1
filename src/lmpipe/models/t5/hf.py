"""Names and keys of the Hugging Face layout: what `transformers.T5ForConditionalGeneration` writes and reads, in version
1.1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lmpipe.models import layout, published
from lmpipe.models.layout import Stored
from lmpipe.models.t5 import keys
from lmpipe.models.t5.config import T5Config
from lmpipe.models.t5.model import T5

TIED = {"head.weight": "embedding.weight"}
IGNORED = r"^(encoder|decoder)\.embed_tokens\.weight$|EncDecAttention\.relative_attention_bias"
"""Copies of the embedding, and a table in the first T5's cross attention that nothing reads."""


def mapping(config: T5Config) -> dict[str, Stored]:
    """Our parameter names to theirs, layers filled in; a tied head has no entry, as on disk."""
    found = {"embedding.weight": Stored(("shared.weight",))}
    for stack, depth in (("encoder", config.layers), ("decoder", config.decoder_depth)):
        found |= layout.expand(_stack(stack), depth)
    if not config.tie_embeddings:
        found["head.weight"] = Stored(("lm_head.weight",))
    return found


def _stack(stack: str) -> dict[str, Stored]:
    ours, theirs = f"{stack}.blocks.{{layer}}.", f"{stack}.block.{{layer}}.layer."
    last = "2" if stack == "decoder" else "1"
    patterns = {
        **_attention(f"{ours}attention", f"{theirs}0.SelfAttention"),
        f"{ours}attention_norm.weight": Stored((f"{theirs}0.layer_norm.weight",)),
        f"{ours}feed_forward.gate_up.weight": Stored(
            tuple(f"{theirs}{last}.DenseReluDense.{name}.weight" for name in ("wi_0", "wi_1"))
        ),
        f"{ours}feed_forward.down.weight": Stored((f"{theirs}{last}.DenseReluDense.wo.weight",)),
        f"{ours}feed_forward_norm.weight": Stored((f"{theirs}{last}.layer_norm.weight",)),
        f"{stack}.bias.table.weight": Stored((f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",)),
        f"{stack}.norm.weight": Stored((f"{stack}.final_layer_norm.weight",)),
    }
    if stack == "decoder":
        patterns |= _attention(f"{ours}cross", f"{theirs}1.EncDecAttention")
        patterns[f"{ours}cross_norm.weight"] = Stored((f"{theirs}1.layer_norm.weight",))
    return patterns


def _attention(ours: str, theirs: str) -> dict[str, Stored]:
    return {
        f"{ours}.q.weight": Stored((f"{theirs}.q.weight",)),
        f"{ours}.kv.weight": Stored((f"{theirs}.k.weight", f"{theirs}.v.weight")),
        f"{ours}.out.weight": Stored((f"{theirs}.o.weight",)),
    }


def save(model: T5, folder: Path, *, end_of_text_id: int, state: dict[str, torch.Tensor] | None = None) -> None:
    """As `families.save`."""
    tensors = layout.to_disk(state or model.state_dict(), mapping(model.config))
    layout.write(folder, _to_json(model, end_of_text_id), tensors, end_of_text_id=end_of_text_id)


def load(folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> T5:
    """The model in a folder, ready to predict (dropout off).

    Raises:
        ModelError: when a file is missing or damaged, or uses what this layout does not have.
    """
    value = published.json_of(folder / published.CONFIG)
    config = published.config_of(folder, keys.from_json, keys.REFUSED)
    vocab_size = published.vocab_size_of(folder)
    tensors = layout.read_tensors(folder, device)
    tied = TIED if config.tie_embeddings else {}
    state = layout.from_disk(
        tensors,
        mapping(config),
        what=f"a T5 v1.1 with {config.layers} and {config.decoder_depth} layers",
        ignored=IGNORED + (r"|^lm_head\.weight$" if tied else ""),
        where=str(folder / published.WEIGHTS),
    )
    model = layout.fill(lambda: T5(config, vocab_size), state, tied=tied, device=device, dtype=dtype, where=folder)
    model.start_id = int(value.get("decoder_start_token_id") or 0)
    return model


def _to_json(model: T5, end_of_text_id: int) -> dict[str, Any]:
    config = model.config
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "bos_token_id": end_of_text_id,
        "d_ff": config.feed_forward_width,
        "d_kv": config.head_dim,
        "d_model": config.width,
        "decoder_start_token_id": model.start_id,
        "dropout_rate": config.dropout,
        "eos_token_id": end_of_text_id,
        "feed_forward_proj": "gated-gelu",
        "initializer_factor": 1.0,
        "is_encoder_decoder": True,
        "layer_norm_epsilon": config.norm_eps,
        "model_type": "t5",
        "n_positions": config.context,
        "num_decoder_layers": config.decoder_depth,
        "num_heads": config.heads,
        "num_layers": config.layers,
        "pad_token_id": 1,
        "relative_attention_max_distance": config.max_distance,
        "relative_attention_num_buckets": config.buckets,
        "tie_word_embeddings": config.tie_embeddings,
        "use_cache": True,
        "vocab_size": model.vocab_size,
    }
