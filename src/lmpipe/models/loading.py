"""A model folder to a model, by the `model_type` in its config.json. A table that grep finds, imported on use.

What is none of ours, or asks for what ours does not compute, is computed by Transformers (`auto`) where that is installed.
"""

from __future__ import annotations

import difflib
from collections.abc import Container
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from lmpipe.base.errors import ModelError
from lmpipe.models.published import CONFIG, PREFIX_LM, UnspokenError, json_of

if TYPE_CHECKING:
    from lmpipe.models.heads import Head
    from lmpipe.models.network import Decoder, Network

FAMILIES = {
    "bert": "lmpipe.models.bert.hf",
    "gpt2": "lmpipe.models.gpt2.hf",
    "llama": "lmpipe.models.llama.hf",
    "lstm": "lmpipe.models.lstm.hf",
    "mistral": "lmpipe.models.llama.hf",
    "mixtral": "lmpipe.models.mixtral.hf",
    "modernbert": "lmpipe.models.modernbert.hf",
    "qwen2": "lmpipe.models.llama.hf",
    "qwen3": "lmpipe.models.llama.hf",
    "roberta": "lmpipe.models.bert.hf",
    "t5": "lmpipe.models.t5.hf",
}
"""`model_type` on disk to the module that reads it."""
WITH_HEADS = ("bert", "roberta", "modernbert")
"""Model types whose head is a choice."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Dtype = Literal["float32", "bfloat16"]


def load_model(folder: Path, *, device: str = "cpu", dtype: Dtype = "float32") -> Decoder:
    """The decoder in `folder`, ready to predict.

    Raises:
        ModelError: when there is none, its family is unknown, it is no decoder, or its files are damaged.
    """
    from lmpipe.models.network import Decoder

    network = load_network(folder, device=device, dtype=dtype)
    if not isinstance(network, Decoder):
        raise ModelError(
            f"a {network.config.kind} model does not predict the next token",
            where=str(folder),
            expected="a decoder: it is what goes on with text",
        )
    return network


def load_network(folder: Path, *, device: str = "cpu", dtype: Dtype = "float32", head: Head | None = None) -> Network:
    """The network in `folder`, of any architecture, ready to predict.

    Args:
        folder: in Hugging Face layout.
        device: where it goes.
        dtype: of the weights.
        head: for encoders, a fresh head instead of the one that was saved (seed torch's generator first).

    Raises:
        ModelError: when there is none, its family is unknown or has no such head, or its files are damaged.
    """
    from lmpipe.models.network import Decoder

    path = folder / CONFIG
    value = json_of(path)
    family = str(value.get("model_type", ""))
    if family not in FAMILIES and family in _known_to_transformers():
        return _foreign(folder, device, dtype, head)
    if family not in FAMILIES:
        close = difflib.get_close_matches(family, FAMILIES, n=1)
        raise ModelError(
            f"the model type '{family}' is unknown" + (f" (did you mean '{close[0]}'?)" if close else ""),
            where=str(path),
            expected=f"one of: {', '.join(FAMILIES)}, or one that Transformers (the extra [hub]) knows",
        )
    if head is not None and family not in WITH_HEADS:
        raise ModelError(f"a {family} model has no choice of heads", where=str(path), expected=", ".join(WITH_HEADS))
    wanted = {} if head is None else {"head": head}
    try:
        network: Network = import_module(FAMILIES[family]).load(folder, device=device, dtype=DTYPES[dtype], **wanted)
    except UnspokenError:
        if family not in _known_to_transformers():
            raise
        return _foreign(folder, device, dtype, head)
    if isinstance(network, Decoder):
        network.reads_prefix = value.get(PREFIX_LM) is True
    return network


def _foreign(folder: Path, device: str, dtype: Dtype, head: Head | None) -> Network:
    from lmpipe.models.auto.loading import load

    return load(str(folder), device=device, dtype=DTYPES[dtype], head=head)


def _known_to_transformers() -> Container[str]:
    try:
        from transformers import CONFIG_MAPPING
    except ModuleNotFoundError:
        return ()
    known: Container[str] = CONFIG_MAPPING
    return known
