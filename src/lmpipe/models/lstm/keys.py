"""The keys of config.json in the layout of our recurrent networks. Knows no tensor library."""

from __future__ import annotations

from typing import Any

from lmpipe.models.lstm.config import LstmConfig

REFUSED = {"model_type": ("lstm",), "format_version": (1,)}
"""Keys that change what is computed, with the values that ours computes; the first is the default."""


def from_json(value: dict[str, Any]) -> LstmConfig:
    """The config that config.json stands for.

    Raises:
        ModelError: when it asks for what this layout does not have here.
    """
    return LstmConfig(
        cell=value["cell"],
        layers=value["num_hidden_layers"],
        width=value["hidden_size"],
        context=value["max_position_embeddings"],
        tie_embeddings=value["tie_word_embeddings"],
        dropout=value["dropout"],
    )
