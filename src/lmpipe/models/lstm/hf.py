"""Names and keys on disk. Transformers has no recurrent language model, so this layout is ours: the names of torch's own
layers.

    embedding.weight    rnn.weight_ih_l0  rnn.weight_hh_l0  rnn.bias_ih_l0  rnn.bias_hh_l0  ...    head.weight  head.bias

What begins with `rnn.` loads into `torch.nn.LSTM(width, width, layers)` (or `torch.nn.RNN`) as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lmpipe.models import layout, published
from lmpipe.models.layout import Stored
from lmpipe.models.lstm import keys
from lmpipe.models.lstm.config import LstmConfig
from lmpipe.models.lstm.model import Lstm

TIED = {"head.weight": "embedding.weight"}


def mapping(config: LstmConfig) -> dict[str, Stored]:
    """Our parameter names to those on disk; a tied head matrix has no entry."""
    found = {name: Stored((name,)) for name in ("embedding.weight", "head.weight", "head.bias")}
    if config.tie_embeddings:
        del found["head.weight"]
    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return found | {
        f"layers.{layer}.{part}_l0": Stored((f"rnn.{part}_l{layer}",)) for layer in range(config.layers) for part in parts
    }


def save(model: Lstm, folder: Path, *, end_of_text_id: int, state: dict[str, torch.Tensor] | None = None) -> None:
    """As `families.save`."""
    tensors = layout.to_disk(state or model.state_dict(), mapping(model.config))
    layout.write(folder, _to_json(model, end_of_text_id), tensors, end_of_text_id=end_of_text_id)


def load(folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Lstm:
    """The model in a folder, ready to predict (dropout off).

    Raises:
        ModelError: when a file is missing or damaged.
    """
    config = published.config_of(folder, keys.from_json, keys.REFUSED)
    vocab_size = published.vocab_size_of(folder)
    state = layout.from_disk(
        layout.read_tensors(folder, device),
        mapping(config),
        what=f"a recurrent network with {config.layers} {config.cell} layers",
        where=str(folder / published.WEIGHTS),
    )
    tied = TIED if config.tie_embeddings else {}
    return layout.fill(lambda: Lstm(config, vocab_size), state, tied=tied, device=device, dtype=dtype, where=folder)


def _to_json(model: Lstm, end_of_text_id: int) -> dict[str, Any]:
    config = model.config
    return {
        "bos_token_id": end_of_text_id,
        "cell": config.cell,
        "dropout": config.dropout,
        "eos_token_id": end_of_text_id,
        "format_version": 1,
        "hidden_size": config.width,
        "max_position_embeddings": config.context,
        "model_type": "lstm",
        "num_hidden_layers": config.layers,
        "tie_word_embeddings": config.tie_embeddings,
        "vocab_size": model.vocab_size,
    }
