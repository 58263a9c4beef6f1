"""Span corruption: stretches of a text are hidden, and a decoder writes them (Raffel et al. 2020, T5, section 3.1.4).

    text      thank you for inviting me to your party last week
    source    thank you <0> me to your party <1> week <end>
    target    <0> for inviting <1> last <end>

How many tokens are hidden and in how many stretches follows from the length alone; where they lie is drawn, as in T5's
`random_spans_noise_mask`: a document begins with what is seen and ends with what is hidden. Each document of a row is
corrupted by itself, in a segment of its own, its sentinels from the first on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lmpipe.base.errors import ModelError
from lmpipe.base.randomness import derive_seed
from lmpipe.models.network import EncoderDecoder, Network
from lmpipe.tokens.loader import Batch, Ids
from lmpipe.tokens.packing import PADDING
from lmpipe.tokens.shards import TokenShards
from lmpipe.training.answers import PairsBatch, Seq2Seq
from lmpipe.training.objective_config import Seq2SeqConfig, SpanCorruptionConfig
from lmpipe.training.objectives import Losses

SPARE = 1.25
"""Room for targets over what documents of average length take."""


class SpanCorruption:
    """The hidden stretches of texts."""

    def __init__(self, config: SpanCorruptionConfig, shards: TokenShards, *, context: int, start_id: int, seed: int) -> None:
        """Store the arguments.

        Raises:
            ModelError: when the tokenizer has fewer sentinels than a row can have hidden stretches.
        """
        self.config, self.seed = config, seed
        self.end_id, self.sentinel_ids = shards.end_of_text_id, np.array(shards.controls.sentinel_ids, np.int64)
        needed = config.spans_of(context)
        if len(self.sentinel_ids) < needed:
            raise ModelError(
                f"the tokenizer has {len(self.sentinel_ids)} sentinels, and a text of {context:,} tokens has {needed} spans",
                where="objective.span_corruption",
                expected=f"at least {needed} sentinels (<extra_id_0> ...)",
                fix="give the tokenizer `sentinels`, or lower model.context or objective.density",
            )
        self.target_tokens = config.target_tokens or _target_tokens(config, shards, context)
        self.writing = Seq2Seq(Seq2SeqConfig(label_smoothing=config.label_smoothing, z_loss=config.z_loss), start_id=start_id)

    def prepare(self, batch: Batch, position: int) -> PairsBatch:
        """Sources and targets, each row by row. A document whose target finds no room stays whole, and is not asked for."""
        ids_BT = batch.inputs_BT
        generator = np.random.default_rng(derive_seed(self.seed, "spans", position))
        sources_BT, source_segments_BT = np.full_like(ids_BT, self.end_id), np.full_like(ids_BT, PADDING)
        shape = (len(ids_BT), self.target_tokens)
        targets_BS, segments_BS = np.full(shape, self.end_id, np.int64), np.full(shape, PADDING, np.int64)
        for row, ids_T in enumerate(ids_BT):
            start = target_start = 0
            for number, text in enumerate(documents_of(ids_T, batch.segments_BT[row])):
                source, target = self.corrupted(text, generator)
                if target_start + len(target) > self.target_tokens:
                    source, target = np.append(text, self.end_id), text[:0]
                source = source[: len(ids_T) - start]
                stop, target_stop = start + len(source), target_start + len(target)
                sources_BT[row, start:stop], source_segments_BT[row, start:stop] = source, number
                targets_BS[row, target_start:target_stop], segments_BS[row, target_start:target_stop] = target, number
                start, target_start = stop, target_stop
        return self.writing.shifted(sources_BT, source_segments_BT, targets_BS, segments_BS)

    def corrupted(self, text: Ids, generator: np.random.Generator) -> tuple[Ids, Ids]:
        """Source and target of one document; one of a single token has no target."""
        if len(text) < 2:
            return np.append(text, self.end_id), text[:0]
        source: list[int] = []
        target: list[int] = []
        borders = np.cumsum(self._lengths(len(text), generator))
        for number, (seen, hidden) in enumerate(np.split(borders, len(borders) // 2)):
            last = borders[2 * number - 1] if number else 0
            source += [*text[last:seen].tolist(), int(self.sentinel_ids[number])]
            target += [int(self.sentinel_ids[number]), *text[seen:hidden].tolist()]
        return np.array([*source, self.end_id], np.int64), np.array([*target, self.end_id], np.int64)

    def _lengths(self, tokens: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Of what is seen and hidden in turn, seen first."""
        hidden, spans = self.config.hidden_of(tokens), self.config.spans_of(tokens)
        lengths = np.empty(2 * spans, np.int64)
        lengths[1::2] = _cut(hidden, spans, generator)
        lengths[0::2] = _cut(tokens - hidden, spans, generator)
        return lengths

    def losses(self, network: Network, *part: Tensor) -> Losses:
        """Of one part."""
        return self.writing.losses(network, *part)

    def supervised(self, arrays: Sequence[NDArray[Any]]) -> int:
        """Target tokens."""
        return self.writing.supervised(arrays)

    def first_loss(self, network: Network) -> float:
        """Every token is as likely as any other."""
        return self.writing.first_loss(network)


def span_corruption(
    config: SpanCorruptionConfig, shards: TokenShards, network: Network, *, context: int, seed: int
) -> SpanCorruption:
    """The objective for a network."""
    assert isinstance(network, EncoderDecoder), "check refuses other architectures"
    return SpanCorruption(config, shards, context=context, start_id=network.start_id, seed=seed)


def documents_of(ids_T: Ids, segments_T: Ids) -> Iterator[Ids]:
    """The texts of a row, without what opens them; the first may have begun before the row."""
    borders = np.flatnonzero(np.diff(segments_T)) + 1
    for part, segment in zip(np.split(ids_T, borders), segments_T[[0, *borders]], strict=True):
        text = part if segment == 0 else part[1:]
        if len(text):
            yield text


def _cut(tokens: int, parts: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """The lengths of `parts` stretches, none empty, that have so many tokens together; all ways to cut are equally likely."""
    places = 1 + np.sort(generator.permutation(tokens - 1)[: parts - 1])
    return np.diff([0, *places, tokens])


def _target_tokens(config: SpanCorruptionConfig, shards: TokenShards, context: int) -> int:
    """Positions that the targets of a row need, by the average length of documents; a multiple of 8."""
    length = max(1, shards.tokens // max(1, shards.documents) - 1)
    one = min(length, context)
    expected = SPARE * (context / (length + 1) + 1) * (config.hidden_of(one) + config.spans_of(one) + 1)
    whole = config.hidden_of(context) + config.spans_of(context) + 1
    return -(-max(whole, min(int(expected), context)) // 8) * 8
