"""Any Transformers model behind our interface: the network computes as theirs does, we only speak to it.

    decoder           hidden() gives logits, head is the identity: some models change logits after their last matrix
    encoder           likewise, with the head that the files name
    encoder-decoder   likewise; the source is read once

Weights come from safetensors alone; code that comes with a model runs only when it was asked for by name.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmpipe.base.errors import ModelError
from lmpipe.base.extras import require
from lmpipe.models.auto.config import ENDS, LAYERS, LENGTH, LENGTHS, WIDTHS, AutoConfig
from lmpipe.models.layers.attention import cached_mask, document_mask
from lmpipe.models.layers.positions import positions_of
from lmpipe.models.network import Decoder, Encoder, EncoderDecoder, Network, refuse_prefix
from lmpipe.models.published import weight_files


@dataclass
class ForeignCache:
    """Transformers' cache of all layers, and how much it holds."""

    past: Any = None
    length: int = 0
    padding_B: Tensor | None = None

    def take(self, rows: Tensor, drop: int, room: int) -> ForeignCache:
        """As `network.TextCache.take`; `room` does not matter."""
        self.past.reorder_cache(rows)
        for layer in self.past.layers if drop else ():
            layer.keys, layer.values = layer.keys[..., drop:, :], layer.values[..., drop:, :]
        return ForeignCache(self.past, self.length - drop)

    def join(self, others: Sequence[ForeignCache], room: int) -> ForeignCache:
        """As `network.TextCache.join`, of layers that hold keys and values of all positions; `room` does not matter."""
        caches = (self, *others)
        length = max(cache.length for cache in caches)
        for layer, *rest in zip(*(cache.past.layers for cache in caches), strict=True):
            layer.keys = _padded([layer.keys, *(one.keys for one in rest)], length)
            layer.values = _padded([layer.values, *(one.values for one in rest)], length)
        return ForeignCache(self.past, length)

    def select(self, rows: Tensor, sources: Tensor | None = None) -> ForeignCache:
        """The cache of these rows, in this order; theirs has the source once for each row."""
        self.past.reorder_cache(rows)
        return self


def _padded(parts_BKSD: Sequence[Tensor], length: int) -> Tensor:
    """Rows together; zeros before what is shorter."""
    return torch.cat([F.pad(part, (0, 0, length - part.shape[-2], 0)) for part in parts_BKSD])


class AutoDecoder(Decoder):
    """A foreign decoder."""

    def __init__(self, config: AutoConfig, model: nn.Module, vocab_size: int) -> None:
        super().__init__()
        self.config, self.model, self.vocab_size = config, model, vocab_size
        self.head = nn.Identity()
        self.takes_padding = _takes_padding(model)

    def hidden(
        self,
        ids_BT: Tensor,
        segments_BT: Tensor | None = None,
        cache: Sequence[ForeignCache] | None = None,
        prefix_BT: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, T, V): the head leaves them as they are."""
        refuse_prefix(prefix_BT, "the model is computed by Transformers, which reads causally")
        start, padding_B = (cache[0].length, cache[0].padding_B) if cache else (0, None)
        asked: dict[str, Any] = {"use_cache": bool(cache)}
        if segments_BT is not None:
            asked["position_ids"] = positions_of(ids_BT, segments_BT)
            asked["attention_mask"] = _additive(document_mask(segments_BT), self.model)
        elif padding_B is not None:
            asked["position_ids"] = positions_of(ids_BT, None, start, padding_B)
            slots_S = torch.arange(start + ids_BT.shape[1], device=ids_BT.device)
            asked["attention_mask"] = (slots_S >= padding_B[:, None]).long()
        elif (mask := cached_mask(start, ids_BT.shape[1], ids_BT.device)) is not None:
            asked["attention_mask"] = torch.ones(len(ids_BT), mask.shape[1], dtype=torch.long, device=ids_BT.device)
        if cache:
            asked["past_key_values"] = cache[0].past
        result = self.model(input_ids=ids_BT, **asked)
        if cache:
            cache[0].past, cache[0].length = result.past_key_values, start + ids_BT.shape[1]
        logits: Tensor = result.logits
        return logits

    def new_cache(self, rows: int, length: int) -> list[ForeignCache]:
        """An empty cache, of all layers in one."""
        return [ForeignCache()]


class AutoEncoder(Encoder):
    """A foreign encoder with the head that its files name."""

    def __init__(self, config: AutoConfig, model: nn.Module, vocab_size: int) -> None:
        super().__init__()
        self.config, self.model, self.vocab_size = config, model, vocab_size
        self.head = nn.Identity()

    def hidden(self, ids_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """The model's logits: the head leaves them as they are. One segment and padding (-1) to a row."""
        attended = None if segments_BT is None else (segments_BT >= 0).long()
        if segments_BT is not None and int(segments_BT.max()) > int(segments_BT.clamp(min=0).min()):
            raise ModelError("several texts in one row were given to a foreign encoder", expected="one text, then padding")
        logits: Tensor = self.model(input_ids=ids_BT, attention_mask=attended).logits
        return logits


class AutoEncoderDecoder(EncoderDecoder):
    """A foreign encoder-decoder."""

    def __init__(self, config: AutoConfig, model: nn.Module, vocab_size: int) -> None:
        super().__init__()
        self.config, self.model, self.vocab_size = config, model, vocab_size
        self.head = nn.Identity()
        self.start_id = int(getattr(model.config, "decoder_start_token_id", 0) or 0)

    def encode(self, source_BS: Tensor, source_segments_BS: Tensor | None = None) -> Tensor:
        """The source's hidden states (B, S, C); padding is segment -1."""
        attended = None if source_segments_BS is None else (source_segments_BS >= 0).long()
        memory: Tensor = self.model.get_encoder()(input_ids=source_BS, attention_mask=attended).last_hidden_state  # type: ignore[operator]
        return memory

    def hidden(
        self,
        target_BT: Tensor,
        memory_BSC: Tensor,
        source_segments_BS: Tensor | None = None,
        segments_BT: Tensor | None = None,
        cache: Sequence[ForeignCache] | None = None,
    ) -> Tensor:
        """Logits (B, T, V): the head leaves them as they are. One pair to a row."""
        beams = len(target_BT) // len(memory_BSC)
        attended = None if source_segments_BS is None else (source_segments_BS >= 0).long().repeat_interleave(beams, dim=0)
        asked: dict[str, Any] = {"use_cache": bool(cache), "attention_mask": attended}
        if cache:
            asked["past_key_values"] = cache[0].past
        result = self.model(encoder_outputs=(memory_BSC.repeat_interleave(beams, dim=0),), decoder_input_ids=target_BT, **asked)
        if cache:
            cache[0].past, cache[0].length = result.past_key_values, cache[0].length + target_BT.shape[1]
        logits: Tensor = result.logits
        return logits

    def new_cache(self, memory_BSC: Tensor, length: int, beams: int = 1) -> list[ForeignCache]:
        """An empty cache, of all layers in one."""
        return [ForeignCache()]


KINDS: dict[str, tuple[str, type[AutoDecoder] | type[AutoEncoder] | type[AutoEncoderDecoder]]] = {
    "ForCausalLM": ("AutoModelForCausalLM", AutoDecoder),
    "LMHeadModel": ("AutoModelForCausalLM", AutoDecoder),
    "ForConditionalGeneration": ("AutoModelForSeq2SeqLM", AutoEncoderDecoder),
    "ForMaskedLM": ("AutoModelForMaskedLM", AutoEncoder),
    "ForSequenceClassification": ("AutoModelForSequenceClassification", AutoEncoder),
    "ForTokenClassification": ("AutoModelForTokenClassification", AutoEncoder),
}
"""Ends of the names in config.json's `architectures`: what loads them there, and what they are here."""


def load(
    source: str,
    *,
    revision: str | None = None,
    remote_code: bool = False,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Network:
    """A foreign model, ready to predict.

    Args:
        source: a folder in Hugging Face layout, or a name on the Hub such as `org/model`.
        revision: which commit, tag or branch of a model on the Hub.
        remote_code: whether code that comes with the model may run. It can do whatever this program can: read it first.
        device: where it goes.
        dtype: of the weights.

    Raises:
        MissingExtraError: when Transformers is not installed.
        ModelError: when it cannot be found or read, is a pickle, needs code of its own, or is of no kind that we speak to.
    """
    transformers = require("transformers", extra="hub", purpose="a model of another family")
    if Path(source).is_dir():
        weight_files(Path(source))  # refuses pickles, naming them
    options = {"revision": revision, "trust_remote_code": remote_code}
    try:
        theirs = transformers.AutoConfig.from_pretrained(source, **options)
        end = _end_of(theirs, source)
        loader, ours = KINDS[end]
        model, found = getattr(transformers, loader).from_pretrained(
            source, use_safetensors=True, dtype=dtype, attn_implementation="sdpa", output_loading_info=True, **options
        )
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(source, remote_code, error) from None
    if missing := sorted(found["missing_keys"]):  # Transformers would draw them anew, and only warn
        raise ModelError(
            f"the weights are not those that config.json speaks of: {len(missing)} missing ({', '.join(missing[:3])})",
            where=source,
            expected="every weight of the model",
        )
    config = AutoConfig(
        family=theirs.model_type,
        architecture=ENDS[end],
        context=_first(theirs, LENGTHS) or LENGTH,
        layers=_first(theirs, LAYERS) or 0,
        width=_first(theirs, WIDTHS) or 0,
        stored_parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    network = ours(config, model, int(theirs.get_text_config().vocab_size))
    network.to(device).eval()
    return network


def _takes_padding(model: nn.Module) -> bool:
    """Whether a foreign decoder is told positions, and its cache is keys and values of all positions: no windows, no states."""
    cache = importlib.import_module("transformers.cache_utils")
    layers = cache.DynamicCache(config=model.config).layers
    told = "position_ids" in inspect.signature(model.forward).parameters
    return told and all(type(layer) is cache.DynamicLayer for layer in layers)


def _first(theirs: Any, keys: tuple[str, ...]) -> int | None:
    return next((value for key in keys if isinstance(value := getattr(theirs, key, None), int)), None)


def _end_of(theirs: Any, source: str) -> str:
    architecture = str((getattr(theirs, "architectures", None) or [""])[0])
    found = next((end for end in KINDS if architecture.endswith(end)), None)
    if found is None:
        raise ModelError(
            f"'{architecture or 'no architecture'}' is none that can be used here",
            where=source,
            expected=f"config.json to name one that ends with: {', '.join(KINDS)}",
        )
    return found


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


def _additive(mask: Tensor, model: nn.Module) -> Tensor:
    """A mask as Transformers takes it ready-made: 0 where one may look, the lowest number where not."""
    dtype = next(model.parameters()).dtype
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
