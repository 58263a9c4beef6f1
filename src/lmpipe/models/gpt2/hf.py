"""Names and keys of the Hugging Face layout: what `transformers.GPT2LMHeadModel` writes and reads. Its matrices lie
transposed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lmpipe.models import layout, published
from lmpipe.models.gpt2 import keys
from lmpipe.models.gpt2.config import Gpt2Config
from lmpipe.models.gpt2.model import Gpt2
from lmpipe.models.layout import Stored

LAYER = "transformer.h.{layer}."
NAMES = {
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "feed_forward_norm": "ln_2",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}
PATTERNS: dict[str, Stored] = {
    "embedding.weight": Stored(("transformer.wte.weight",)),
    "positions.weight": Stored(("transformer.wpe.weight",)),
    **{
        f"blocks.{{layer}}.{ours}.{part}": Stored((f"{LAYER}{theirs}.{part}",), transposed=part == "weight" and "c_" in theirs)
        for ours, theirs in NAMES.items()
        for part in ("weight", "bias")
    },
    "norm.weight": Stored(("transformer.ln_f.weight",)),
    "norm.bias": Stored(("transformer.ln_f.bias",)),
    "head.weight": Stored(("lm_head.weight",)),
}
TIED = {"head.weight": "embedding.weight"}
IGNORED = r"\.attn\.(masked_)?bias$"
"""Causal masks that old versions saved."""


def mapping(config: Gpt2Config) -> dict[str, Stored]:
    """Our parameter names to theirs, layers filled in; a tied head has no entry, as on disk."""
    patterns = {ours: stored for ours, stored in PATTERNS.items() if not (config.tie_embeddings and ours in TIED)}
    return layout.expand(patterns, config.layers)


def save(model: Gpt2, folder: Path, *, end_of_text_id: int, state: dict[str, torch.Tensor] | None = None) -> None:
    """As `families.save`."""
    tensors = layout.to_disk(state or model.state_dict(), mapping(model.config))
    layout.write(folder, _to_json(model.config, model.vocab_size, end_of_text_id), tensors, end_of_text_id=end_of_text_id)


def load(folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Gpt2:
    """The model in a folder, ready to predict (dropout off).

    Raises:
        ModelError: when a file is missing or damaged, or uses what this layout does not have.
    """
    config = published.config_of(folder, keys.from_json, keys.REFUSED)
    vocab_size = published.vocab_size_of(folder)
    tensors = layout.read_tensors(folder, device)
    if "wte.weight" in tensors:  # saved without its head, as OpenAI's own were
        tensors = {f"transformer.{name}": tensor for name, tensor in tensors.items()}
    tied = TIED if config.tie_embeddings else {}
    state = layout.from_disk(
        tensors,
        mapping(config),
        what=f"a GPT-2 with {config.layers} layers",
        ignored=IGNORED + (r"|^lm_head\.weight$" if tied else ""),
        where=str(folder / published.WEIGHTS),
    )
    return layout.fill(lambda: Gpt2(config, vocab_size), state, tied=tied, device=device, dtype=dtype, where=folder)


def _to_json(config: Gpt2Config, vocab_size: int, end_of_text_id: int) -> dict[str, Any]:
    return {
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.0,
        "bos_token_id": end_of_text_id,
        "embd_pdrop": config.dropout,
        "eos_token_id": end_of_text_id,
        "initializer_range": 0.02,
        "layer_norm_epsilon": config.norm_eps,
        "model_type": "gpt2",
        "n_embd": config.width,
        "n_head": config.heads,
        "n_inner": config.feed_forward_width,
        "n_layer": config.layers,
        "n_positions": config.context,
        "resid_pdrop": config.dropout,
        "tie_word_embeddings": config.tie_embeddings,
        "use_cache": True,
        "vocab_size": vocab_size,
    }
