"""Which foreign model, by numbers that follow from its own files. Knows no tensor library."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from lmpipe.base.config import Config
from lmpipe.base.errors import ModelError
from lmpipe.models.published import CONFIG, json_of, stored_parameters

Architecture = Literal["decoder", "encoder", "encoder-decoder"]
ENDS: dict[str, Architecture] = {
    "ForCausalLM": "decoder",
    "LMHeadModel": "decoder",
    "ForConditionalGeneration": "encoder-decoder",
    "ForMaskedLM": "encoder",
    "ForSequenceClassification": "encoder",
    "ForTokenClassification": "encoder",
}
"""Ends of the names in config.json's `architectures`, and what they are here."""
LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
"""Keys under which models say how long a text may be."""
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers")
WIDTHS = ("hidden_size", "n_embd", "d_model", "dim")
LENGTH = 1024
"""Tokens that a prediction can see where a model does not say."""


class AutoConfig(Config):
    """A model that Transformers computes: its family is not one of ours, or asks for what ours does not have. Never fresh:
    filled in by `model: {from: ...}`."""

    heads_offered: ClassVar[tuple[str, ...]] = ("language",)

    kind: Literal["auto"] = "auto"
    family: str
    """Its `model_type`."""
    architecture: Architecture
    """What it predicts from what."""
    context: int = Field(ge=1)
    """Tokens that a prediction can see."""
    layers: int = Field(ge=0)
    """Layers, as its files say; 0 where they do not."""
    width: int = Field(ge=0)
    """Size of its residual stream; 0 where its files do not say."""
    stored_parameters: int = Field(ge=1)
    """Parameters, counted from the header of its weights."""

    def resolved(self) -> dict[str, Any]:
        """Nothing is worked out; what Transformers calls it says most."""
        return {"family": self.family}


def parameter_count(config: AutoConfig, vocab_size: int) -> int:
    """As its files hold them; the vocabulary is among them."""
    return config.stored_parameters


def flops_per_token(config: AutoConfig, vocab_size: int) -> float:
    """Floating-point operations of one training token, forward and backward; embeddings, which are only looked up, count as
    if they were multiplied where they are not the head, too."""
    return 6.0 * config.stored_parameters + 12.0 * config.layers * config.width * config.context


def describe(folder: Path) -> AutoConfig:
    """What the files of a folder say of their model.

    Raises:
        ModelError: when there is none, its weights are pickles, or it is of no kind that we speak to.
    """
    value = json_of(folder / CONFIG)
    name = str((value.get("architectures") or [""])[0])
    found = next((architecture for end, architecture in ENDS.items() if name.endswith(end)), None)
    if found is None:
        raise ModelError(
            f"'{name or 'no architecture'}' is none that can be used here",
            where=str(folder / CONFIG),
            expected=f"config.json to name one that ends with: {', '.join(ENDS)}",
        )
    return AutoConfig(
        family=str(value.get("model_type", "")),
        architecture=found,
        context=first_number(value, LENGTHS) or LENGTH,
        layers=first_number(value, LAYERS) or 0,
        width=first_number(value, WIDTHS) or 0,
        stored_parameters=stored_parameters(folder, tied=bool(value.get("tie_word_embeddings", True))),
    )


def first_number(value: dict[str, Any], keys: tuple[str, ...]) -> int | None:
    """The first of `keys` that is a whole number in a config.json."""
    return next((found for key in keys if isinstance(found := value.get(key), int)), None)
