"""Any Transformers model behind our interface: the network computes as theirs does, we only speak to it.

decoder           hidden() gives logits, head is the identity: some models change logits after their last matrix
encoder           likewise; each text of a packed row is read by itself (`texts.py`)
encoder-decoder   likewise; the source is read once
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmpipe.base.errors import ModelError
from lmpipe.models.auto.config import AutoConfig
from lmpipe.models.auto.texts import Texts, taken
from lmpipe.models.heads import EmbeddingHead, Head, SequenceHead
from lmpipe.models.layers.attention import cached_mask, document_mask
from lmpipe.models.layers.encoder_heads import PooledVector
from lmpipe.models.layers.positions import positions_of
from lmpipe.models.network import Decoder, Encoder, EncoderDecoder, check_length, refuse_prefix


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
    """A foreign encoder with a head: the one that its files name, or another that Transformers has for its type."""

    widths_vary = True

    def __init__(self, config: AutoConfig, model: nn.Module, vocab_size: int, head: Head) -> None:
        super().__init__()
        self.config, self.model, self.vocab_size, self.head_config = config, model, vocab_size, head
        self.head: nn.Module = nn.Identity()
        if isinstance(head, EmbeddingHead):
            self.head = PooledVector(head.pooling)
        elif isinstance(head, SequenceHead):
            self.head = OfFirst()
        self.padding = int(getattr(model.config, "pad_token_id", None) or 0)

    def hidden(self, ids_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """The model's logits (B, T, V or labels), which the head leaves as they are; of a head for whole texts those of each
        text at its first position, which the head takes; of a head that pools the hidden states."""
        if isinstance(self.head_config, EmbeddingHead):
            return self.states(ids_BT, segments_BT)
        return self._by_text(lambda **asked: self.model(**asked).logits, ids_BT, segments_BT)

    def states(self, ids_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """The last hidden states (B, T, C), below any head."""
        body: Any = self.model.base_model
        return self._by_text(lambda **asked: body(**asked).last_hidden_state, ids_BT, segments_BT)

    def _by_text(self, predict: Callable[..., Tensor], ids_BT: Tensor, segments_BT: Tensor | None) -> Tensor:
        if segments_BT is None:
            found = predict(input_ids=ids_BT)
            return found[:, None] if found.ndim == 2 else found
        texts, found_of = Texts(segments_BT), []
        for numbers in texts.alike():
            places, there = texts.places(numbers)
            found = predict(input_ids=taken(ids_BT, places, there, self.padding), attention_mask=there.long())
            found_of.append((places[:, 0], found) if found.ndim == 2 else (places[there], found[there]))
        if not found_of:  # rows of padding alone
            found = predict(input_ids=ids_BT[:1, :1])
            return found.new_zeros(*ids_BT.shape, found.shape[-1])
        return texts.put_back(found_of)


class OfFirst(nn.Module):
    """What stands at the first position."""

    def forward(self, x_BTL: Tensor) -> Tensor:
        """(B, T, L) to (B, L)."""
        return x_BTL[:, 0]


class AutoEncoderDecoder(EncoderDecoder):
    """A foreign encoder-decoder."""

    widths_vary = True

    def __init__(self, config: AutoConfig, model: nn.Module, vocab_size: int) -> None:
        super().__init__()
        self.config, self.model, self.vocab_size = config, model, vocab_size
        self.head = nn.Identity()
        self.padding = int(getattr(model.config, "pad_token_id", None) or 0)
        self.start_id = _start_of_targets(model)
        self.positions: int | None = getattr(model.config, "max_position_embeddings", None)

    def forward(
        self,
        source_BS: Tensor,
        target_BT: Tensor,
        source_segments_BS: Tensor | None = None,
        segments_BT: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, T, V). Where both have segments, a row holds several pairs: the texts and the targets of each number."""
        if source_segments_BS is None or segments_BT is None:
            return super().forward(source_BS, target_BT, source_segments_BS, segments_BT)
        sources, targets, found = Texts(source_segments_BS), Texts(segments_BT), []
        if len(sources) != len(targets):
            raise ModelError(f"{len(sources)} texts were given with {len(targets)} targets", expected="a target for each text")
        for numbers in sources.alike():
            (read, there), (written, asked) = sources.places(numbers), targets.places(numbers)
            logits = self.model(
                input_ids=taken(source_BS, read, there, self.padding),
                attention_mask=there.long(),
                decoder_input_ids=taken(target_BT, written, asked, self.padding),
                use_cache=False,
            ).logits
            found.append((written[asked], logits[asked]))
        return targets.put_back(found)

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
        if self.positions is not None:
            check_length((cache[0].length if cache else 0) + target_BT.shape[1], self.positions)
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


def _start_of_targets(model: nn.Module) -> int:
    """What a target begins with. Where a model leaves it to its tokenizer (mBART), it is the beginning of a text, as in
    Transformers' `generate`; it is then written into the model's files."""
    theirs: Any = model.config
    names = ("decoder_start_token_id", "bos_token_id", "pad_token_id")
    start = next((int(one) for name in names if (one := getattr(theirs, name, None)) is not None), 0)
    theirs.decoder_start_token_id = start
    generation: Any = getattr(model, "generation_config", None)
    if generation is not None:
        generation.decoder_start_token_id = start
    return start


def _takes_padding(model: nn.Module) -> bool:
    """Whether a foreign decoder is told positions, and its cache is keys and values of all positions: no windows, no states."""
    cache = importlib.import_module("transformers.cache_utils")
    layers = cache.DynamicCache(config=model.config).layers
    told = "position_ids" in inspect.signature(model.forward).parameters
    return told and all(type(layer) is cache.DynamicLayer for layer in layers)


def _additive(mask: Tensor, model: nn.Module) -> Tensor:
    """A mask as Transformers takes it ready-made: 0 where one may look, the lowest number where not."""
    dtype = next(model.parameters()).dtype
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
