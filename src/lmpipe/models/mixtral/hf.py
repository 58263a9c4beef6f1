"""Names and keys of the Hugging Face layout: what `transformers.MixtralForCausalLM` writes and reads.

An expert's three matrices lie on disk one by one; here all experts of a layer are two tensors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lmpipe.models import layout, published
from lmpipe.models.layout import Stored
from lmpipe.models.llama import hf as llama
from lmpipe.models.mixtral import keys
from lmpipe.models.mixtral.config import MixtralConfig
from lmpipe.models.mixtral.model import Mixtral

EXPERTS = llama.LAYER + "block_sparse_moe."


def mapping(config: MixtralConfig) -> dict[str, Stored]:
    """Our parameter names to theirs, layers filled in; a tied head has no entry, as on disk."""
    patterns = {ours: stored for ours, stored in llama.patterns(config, {}).items() if ".feed_forward." not in ours}
    expert = [f"{EXPERTS}experts.{number}." for number in range(config.experts)]
    patterns |= {
        "blocks.{layer}.feed_forward.router.weight": Stored((EXPERTS + "gate.weight",)),
        "blocks.{layer}.feed_forward.gate_up": Stored(tuple(f"{name}{w}.weight" for name in expert for w in ("w1", "w3"))),
        "blocks.{layer}.feed_forward.down": Stored(tuple(f"{name}w2.weight" for name in expert)),
    }
    return layout.expand(patterns, config.layers)


def save(model: Mixtral, folder: Path, *, end_of_text_id: int, state: dict[str, torch.Tensor] | None = None) -> None:
    """As `families.save`."""
    tensors = layout.to_disk(state or model.state_dict(), mapping(model.config))
    layout.write(folder, _to_json(model.config, model.vocab_size, end_of_text_id), tensors, end_of_text_id=end_of_text_id)


def load(folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Mixtral:
    """The model in a folder, ready to predict (dropout off).

    Raises:
        ModelError: when a file is missing or damaged, or uses what this layout does not have.
    """
    config = published.config_of(folder, keys.from_json, keys.REFUSED)
    vocab_size = published.vocab_size_of(folder)
    tied = llama.TIED if config.tie_embeddings else {}
    state = layout.from_disk(
        layout.read_tensors(folder, device),
        mapping(config),
        what=f"a Mixtral with {config.layers} layers and {config.experts} experts",
        ignored=llama.IGNORED + (r"|^lm_head\.weight$" if tied else ""),
        where=str(folder / published.WEIGHTS),
    )
    return layout.fill(lambda: Mixtral(config, vocab_size), state, tied=tied, device=device, dtype=dtype, where=folder)


def _to_json(config: MixtralConfig, vocab_size: int, end_of_text_id: int) -> dict[str, Any]:
    return {
        **llama.shape_to_json(config, vocab_size, end_of_text_id),
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "num_experts_per_tok": config.experts_per_token,
        "num_local_experts": config.experts,
        "output_router_logits": False,
        "router_aux_loss_coef": config.balance_loss,
        "router_jitter_noise": 0.0,
        "sliding_window": config.sliding_window,
    }
