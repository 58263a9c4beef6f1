"""The keys of config.json in the layout of Mixtral. Knows no tensor library."""

from __future__ import annotations

from typing import Any

from lmpipe.models.llama.keys import shape_from_json
from lmpipe.models.mixtral.config import MixtralConfig

REFUSED = {"model_type": ("mixtral",), "hidden_act": ("silu",), "router_jitter_noise": (0, 0.0)}
"""Keys that change what is computed, with the values that ours computes; the first is the default."""


def from_json(value: dict[str, Any]) -> MixtralConfig:
    """The config that config.json stands for.

    Raises:
        ModelError: when it asks for what this layout does not have here.
    """
    return MixtralConfig(
        **shape_from_json(value),
        sliding_window=value.get("sliding_window"),
        experts=value["num_local_experts"],
        experts_per_token=value["num_experts_per_tok"],
        balance_loss=value.get("router_aux_loss_coef", 0.001),
    )
