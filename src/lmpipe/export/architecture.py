"""What a model's own config.json says it is, in the words of a card. Knows the layouts' keys, no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Architecture(NamedTuple):
    """How a card speaks of a model type."""

    sentence: str
    """Goes on after "A " and before " with so many parameters"."""
    task: str
    """The Hub's name of what it is for (`pipeline_tag`)."""
    loader: str
    """The class of Transformers (or sentence-transformers) that loads it; empty where there is none."""


DECODER = "decoder-only language model in {} layout"
ENCODER = "text encoder in {} layout"
TYPES = {
    "llama": Architecture(DECODER.format("Llama"), "text-generation", "AutoModelForCausalLM"),
    "mistral": Architecture(DECODER.format("Mistral"), "text-generation", "AutoModelForCausalLM"),
    "qwen2": Architecture(DECODER.format("Qwen2"), "text-generation", "AutoModelForCausalLM"),
    "qwen3": Architecture(DECODER.format("Qwen3"), "text-generation", "AutoModelForCausalLM"),
    "gpt2": Architecture(DECODER.format("GPT-2"), "text-generation", "AutoModelForCausalLM"),
    "mixtral": Architecture("sparse mixture of experts in Mixtral layout", "text-generation", "AutoModelForCausalLM"),
    "lstm": Architecture("recurrent language model", "text-generation", ""),
    "bert": Architecture(ENCODER.format("BERT"), "fill-mask", "AutoModelForMaskedLM"),
    "roberta": Architecture(ENCODER.format("RoBERTa"), "fill-mask", "AutoModelForMaskedLM"),
    "modernbert": Architecture(ENCODER.format("ModernBERT"), "fill-mask", "AutoModelForMaskedLM"),
    "t5": Architecture("text-to-text model in T5 v1.1 layout", "text2text-generation", "AutoModelForSeq2SeqLM"),
}
LABELLED = {
    "ForSequenceClassification": ("text-classification", "AutoModelForSequenceClassification"),
    "ForTokenClassification": ("token-classification", "AutoModelForTokenClassification"),
}
EMBEDDERS = ("BertModel", "RobertaModel", "ModernBertModel")
"""Bodies alone: what vectors are made with."""
LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
WIDTH = ("hidden_size", "n_embd", "d_model")
CONTEXT = ("max_position_embeddings", "n_positions")


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """What a card says of the model that has this config.json."""
    kind = str(config.get("model_type", "llama"))
    found = TYPES.get(kind, Architecture(f"language model of the type {kind}", "text-generation", "AutoModel"))
    name = str((config.get("architectures") or [""])[0])
    labelled = next((value for end, value in LABELLED.items() if name.endswith(end)), None)
    if name in EMBEDDERS:
        labelled = ("sentence-similarity", "SentenceTransformer")
    return found._replace(task=labelled[0], loader=labelled[1]) if labelled else found


def shape_of(config: Mapping[str, Any]) -> str:
    """Layers, width, context and vocabulary, under whatever names the layout has for them.

    >>> shape_of({"n_layer": 2, "n_embd": 64, "n_positions": 128, "vocab_size": 300})
    '2 layers of width 64, a context of 128 tokens and a vocabulary of 300'
    """
    layers, width, context = (next((config[key] for key in keys if key in config), "?") for keys in (LAYERS, WIDTH, CONTEXT))
    vocabulary = config.get("vocab_size", "?")
    return f"{layers} layers of width {width}, a context of {context} tokens and a vocabulary of {vocabulary}"
