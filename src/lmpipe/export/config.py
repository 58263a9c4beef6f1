"""In which forms a user may want the trained model."""

from __future__ import annotations

from typing import Literal

from lmpipe.base.config import Config


class HuggingFaceConfig(Config):
    """The bundle: a folder in Hugging Face layout with weights, tokenizer, cards, results and digests."""

    kind: Literal["huggingface"] = "huggingface"
    weights: Literal["best", "last"] = "best"
    """Which checkpoint: the one with the lowest validation loss, or the one after the last step."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """How the weights are stored. bfloat16 halves the file and rounds each weight to three significant digits."""
