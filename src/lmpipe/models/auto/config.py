"""Which foreign model, by numbers that follow from its own files. Knows no tensor library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lmpipe.base.config import Config
from lmpipe.base.errors import ModelError
from lmpipe.models.auto.offered import Architecture, architecture_of, heads_of
from lmpipe.models.published import CONFIG, json_of, stored_parameters

ENDS: dict[str, Architecture] = {
    "ForCausalLM": "decoder",
    "LMHeadModel": "decoder",
    "ForConditionalGeneration": "encoder-decoder",
    "ForMaskedLM": "encoder",
    "ForSequenceClassification": "encoder",
    "ForTokenClassification": "encoder",
}
"""Ends of the names in config.json's `architectures`, and what they are here, where the model type does not say it."""
LABELS = {"sequence": "ForSequenceClassification", "token": "ForTokenClassification"}
"""Ends of the names of models with a head that gives labels."""
LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
"""Keys under which models say how long a text may be."""
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers")
WIDTHS = ("hidden_size", "n_embd", "d_model", "dim")
LENGTH = 1024
"""Tokens that a prediction can see where a model does not say."""
COUNTED_FROM_PADDING = frozenset(
    {"camembert", "data2vec-text", "esm", "ibert", "lilt", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm"}
    | {"xlm-roberta", "xlm-roberta-xl", "xmod"}
)
"""Model types whose positions begin behind the id of their padding, as RoBERTa's do: of 514 rows, texts have 512."""


class AutoConfig(Config):
    """A model that Transformers computes: its family is not one of ours, or asks for what ours does not have. Never fresh:
    filled in by `model: {from: ...}`."""

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

    @property
    def heads_offered(self) -> tuple[str, ...]:
        """Its own, and for an encoder those that Transformers has for its type."""
        return ("language", *(("embedding", *heads_of(self.family)) if self.architecture == "encoder" else ()))

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
    family = str(value.get("model_type", ""))
    return AutoConfig(
        family=family,
        architecture=kind_of(family, value.get("architectures"), where=str(folder / CONFIG)),
        context=context_of(family, first_number(value.get, LENGTHS), value.get("pad_token_id")),
        layers=first_number(value.get, LAYERS) or 0,
        width=first_number(value.get, WIDTHS) or 0,
        stored_parameters=stored_parameters(folder, tied=bool(value.get("tie_word_embeddings", True))),
    )


def kind_of(family: str, names: Sequence[str] | None, *, where: str) -> Architecture:
    """What a model is, by its type and the class that its files name.

    Raises:
        ModelError: when it is of no kind that we speak to.
    """
    name = str((names or [""])[0])
    end = next((end for end in ENDS if name.endswith(end)), "")
    found = ENDS.get(end)
    if found is None or end in LABELS.values():  # a body alone, another head, or labels, which decoders give, too
        found = architecture_of(family) or found
    if found is None:
        raise ModelError(
            f"'{name or 'no architecture'}' is none that can be used here",
            where=where,
            expected=f"config.json to name one that ends with: {', '.join(ENDS)}",
        )
    return found


def context_of(family: str, length: int | None, padding: int | None) -> int:
    """Tokens that a prediction can see, by the rows of the table of positions."""
    if length is None:
        return LENGTH
    return length - (1 if padding is None else padding) - 1 if family in COUNTED_FROM_PADDING else length


def first_number(asked: Callable[[str], object], keys: tuple[str, ...]) -> int | None:
    """The first of `keys` for which a model's config has a whole number above 0."""
    return next((found for key in keys if isinstance(found := asked(key), int) and found > 0), None)
