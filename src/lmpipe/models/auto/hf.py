"""A foreign model back to disk, by Transformers' own hand: safetensors, in its own layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lmpipe.models.auto.loading import quiet
from lmpipe.models.auto.model import AutoDecoder, AutoEncoder, AutoEncoderDecoder
from lmpipe.models.layout import Stored

OWN = "model."
"""What our wrapper puts before the names of theirs."""


def mapping(network: AutoDecoder | AutoEncoder | AutoEncoderDecoder) -> dict[str, Stored]:
    """Every parameter under the name that Transformers has for it."""
    return {name: Stored((name.removeprefix(OWN),)) for name, _ in network.named_parameters()}


def save(
    network: AutoDecoder | AutoEncoder | AutoEncoderDecoder,
    folder: Path,
    *,
    end_of_text_id: int,
    state: dict[str, torch.Tensor] | None = None,
) -> None:
    """As `families.save`; where generation stops is what the model's own files say."""
    theirs = {name.removeprefix(OWN): tensor for name, tensor in (state or network.state_dict()).items()}
    generation: Any = getattr(network.model, "generation_config", None)
    if isinstance(network, AutoEncoderDecoder) and generation is not None:
        generation.forced_bos_token_id = None  # targets were learned without a token that is the same in all of them
    with quiet():
        network.model.save_pretrained(folder, state_dict=theirs, max_shard_size="10TB")  # type: ignore[operator]
