"""A foreign model from its files. Weights come from safetensors alone; code that comes with a model runs only when it was asked
for by name."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lmpipe.base.errors import ModelError
from lmpipe.base.extras import require
from lmpipe.models.auto.config import ENDS, LABELS, LAYERS, LENGTHS, WIDTHS, AutoConfig, context_of, first_number, kind_of
from lmpipe.models.auto.model import AutoDecoder, AutoEncoder, AutoEncoderDecoder
from lmpipe.models.auto.offered import Architecture, heads_of, nearest
from lmpipe.models.heads import EmbeddingHead, Head, LanguageHead, SequenceHead, TokenHead
from lmpipe.models.network import Network
from lmpipe.models.published import weight_files
from lmpipe.models.sentences import pooling_of

LANGUAGE: dict[Architecture, str] = {
    "decoder": "AutoModelForCausalLM",
    "encoder": "AutoModelForMaskedLM",
    "encoder-decoder": "AutoModelForSeq2SeqLM",
}
"""What loads a model with its head for words there."""
OTHERS = {
    "sequence": "AutoModelForSequenceClassification",
    "token": "AutoModelForTokenClassification",
    "embedding": "AutoModel",
}
"""And an encoder with another head, or with none."""


def load(
    source: str,
    *,
    revision: str | None = None,
    remote_code: bool = False,
    head: Head | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Network:
    """A foreign model, ready to predict.

    Args:
        source: a folder in Hugging Face layout, or a name on the Hub such as `org/model`.
        revision: which commit, tag or branch of a model on the Hub.
        remote_code: whether code that comes with a model may run. It can do whatever this program can: read it first.
        head: of encoders, instead of the one that was saved: its weights are drawn anew (seed torch's generator first) where it
            is another one.
        device: where it goes.
        dtype: of the weights.

    Raises:
        MissingExtraError: when Transformers is not installed.
        ModelError: when it cannot be found or read, is a pickle, needs code of its own, is of no kind that we speak to, or has
            no such head.
    """
    transformers = require("transformers", extra="hub", purpose="a model of another family")
    if Path(source).is_dir():
        weight_files(Path(source))  # refuses pickles, naming them
    options = {"revision": revision, "trust_remote_code": remote_code}
    try:
        with quiet():
            theirs = transformers.AutoConfig.from_pretrained(source, **options)
            architecture = kind_of(theirs.model_type, theirs.architectures, where=source)
            saved = _saved_head(theirs, source)
            chosen = _chosen(theirs.model_type, architecture, saved, head, source)
            if isinstance(chosen, SequenceHead | TokenHead):
                theirs.id2label = dict(enumerate(chosen.labels))
                theirs.label2id = {label: number for number, label in enumerate(chosen.labels)}
            model, found = getattr(transformers, OTHERS.get(chosen.kind, LANGUAGE[architecture])).from_pretrained(
                source,
                config=theirs,
                use_safetensors=True,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=chosen != saved,
                **options,
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _unreadable(source, remote_code, error) from None
    if architecture == "encoder" and "attention_mask" not in inspect.signature(model.forward).parameters:
        raise ModelError(
            f"a {theirs.model_type} model takes no attention mask, so it would read the padding of shorter texts",
            where=source,
            expected="an encoder that can leave padding out",
        )
    fresh = _fresh(model, found, replaced=chosen != saved, source=source)
    asked = partial(_of_config, theirs)  # by attribute: Transformers knows each under several names
    config = AutoConfig(
        family=theirs.model_type,
        architecture=architecture,
        context=context_of(theirs.model_type, first_number(asked, LENGTHS), asked("pad_token_id")),
        layers=first_number(asked, LAYERS) or 0,
        width=first_number(asked, WIDTHS) or 0,
        stored_parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    vocab_size = int(theirs.get_text_config().vocab_size)
    network: Network
    if architecture == "encoder":
        network = AutoEncoder(config, model, vocab_size, chosen)
    else:
        network = (AutoDecoder if architecture == "decoder" else AutoEncoderDecoder)(config, model, vocab_size)
    network.fresh_weights = tuple(f"model.{name}" for name in fresh)
    network.to(device).eval()
    return network


def _of_config(theirs: Any, key: str) -> Any:
    return getattr(theirs, key, None)


def _saved_head(theirs: Any, source: str) -> Head | None:
    """The head that a model's files name; None where the body was saved alone, or for a task that there is not here."""
    name = str((theirs.architectures or [""])[0])
    if name.endswith(tuple(LABELS.values())):
        labels = tuple(str(theirs.id2label[key]) for key in sorted(theirs.id2label))
        return SequenceHead(labels=labels) if name.endswith(LABELS["sequence"]) else TokenHead(labels=labels)
    if name.endswith(tuple(ENDS)):
        return LanguageHead()
    pooling = pooling_of(Path(source))
    return EmbeddingHead(pooling=pooling) if pooling and name.endswith("Model") else None


def _chosen(family: str, architecture: Architecture, saved: Head | None, wanted: Head | None, source: str) -> Head:
    """The head to load with.

    Raises:
        ModelError: when a model of this type cannot have it, or there is none.
    """
    if architecture != "encoder":
        if isinstance(wanted or saved, SequenceHead | TokenHead | EmbeddingHead):
            raise ModelError(
                f"a {family} model is no encoder: labels would be read off its last token",
                where=source,
                expected="an encoder, or the model with its head for words",
            )
        return LanguageHead()
    chosen = saved if wanted is None else wanted
    if chosen is None:
        raise ModelError(
            f"the weights are those of a {family} encoder without a head",
            where=source,
            expected="a head that predicts something",
            fix="train one: `model: {from: ...}` in a recipe gives it a fresh head",
        )
    if chosen != saved and isinstance(chosen, SequenceHead | TokenHead) and chosen.kind not in heads_of(family):
        raise ModelError(
            f"Transformers has no {chosen.kind} head for a {family} model",
            where=source,
            expected=f"one of the encoders that have one, such as {nearest(family, chosen.kind)}",
        )
    return chosen


def _fresh(model: nn.Module, found: dict[str, Any], *, replaced: bool, source: str) -> list[str]:
    """Names of the parameters that were drawn anew: those of a head that replaces another, or what pools for it.

    What the other head has under the same name and in the same size was loaded: it is drawn anew here.

    Raises:
        ModelError: when other weights are missing. Transformers would draw them anew, and only warn.
    """
    missing = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
    body: Any = model.base_model
    kept = {id(parameter) for parameter in body.parameters()} if body is not model else set()
    of_head = {name for name, parameter in model.named_parameters() if body is not model and id(parameter) not in kept}
    pooling = {name for name, _ in model.named_parameters() if "pooler" in name.split(".")}
    if lost := sorted(missing - (of_head | pooling if replaced else set())):
        raise ModelError(
            f"the weights are not those that config.json speaks of: {len(lost)} missing ({', '.join(lost[:3])})",
            where=source,
            expected="every weight of the model",
        )
    if replaced and (loaded := sorted(of_head - missing)):
        twin = dict(type(model)(model.config).named_parameters())
        with torch.no_grad():
            for name in loaded:
                model.get_parameter(name).copy_(twin[name])
    return sorted({*missing, *of_head} if replaced else missing)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Transformers' bars and tables: what is fresh is told by who asked for it."""
    logging = importlib.import_module("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _unreadable(source: str, remote_code: bool, error: Exception) -> ModelError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    needs_code = "remote code" in str(error) or "trust_remote_code" in str(error)
    if needs_code and not remote_code:
        return ModelError(
            f"'{source}' comes with code of its own, which was not asked for",
            expected="a model that Transformers knows by itself",
            fix="read that code; then set remote_code: true for this model",
        )
    return ModelError(
        f"'{source}' cannot be loaded: {first}",
        expected="a folder or a name on the Hub, with weights as safetensors; pickle is refused",
        fix="check the name and the network, or fetch the model first and give its folder",
    )
