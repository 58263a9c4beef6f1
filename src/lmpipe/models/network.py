"""What trainers, scorers and generators may ask of a network, by architecture; nothing of any family.

    Decoder          ids -> logits of the next token            llama, gpt2, mixtral, lstm
    Encoder          ids -> logits of its head at each place    bert, modernbert
    EncoderDecoder   source ids, target ids -> logits           t5

B rows, T positions (S of a source), C width, V vocabulary or labels. Segments number the documents of a row: a position sees
only positions of its own segment, so padding is a segment of its own (-1) that nothing else sees. A network is written for one
device; its names on disk are its family's `hf.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

from torch import Tensor, nn

from lmpipe.base.errors import ModelError


class CacheEntry(Protocol):
    """What one layer remembers of the positions seen so far."""

    @property
    def length(self) -> int:
        """Positions seen."""


class TextCache(CacheEntry, Protocol):
    """What one layer of a decoder remembers of several texts, a row for each, which come and go."""

    padding_B: Tensor | None
    """How many of each row's first positions are none of its text; None: no row has any. The same in all layers."""

    def take(self, rows: Tensor, drop: int, room: int) -> Self:
        """A cache of these rows, in this order, without their first `drop` positions, with room for `room` positions."""

    def join(self, others: Sequence[Self], room: int) -> Self:
        """A cache of all rows, with room for `room` positions; what is shorter is padded at the beginning."""


def check_length(positions: int, context: int) -> None:
    """Refuse a text that is longer than a network's table of positions.

    Raises:
        ModelError: with both numbers.
    """
    if positions > context:
        raise ModelError(
            f"{positions} tokens were given to a model with {context} positions",
            expected=f"at most {context} tokens",
            fix="shorten the text, or train with a larger model.context",
        )


def refuse_prefix(prefix_BT: Tensor | None, why: str) -> None:
    """For networks that only go from left to right.

    Raises:
        ModelError: when there is a prefix.
    """
    if prefix_BT is not None:
        raise ModelError(
            f"a prefix was to be read both ways, and {why}", expected="a model of the layouts llama, gpt2 or mixtral"
        )


class Network(nn.Module):
    """What every network has."""

    config: Any
    """The family's config."""
    vocab_size: int
    """Ids lie in [0, vocab_size)."""
    head: nn.Module
    """From the last hidden states (..., C) to logits."""
    fresh_weights: tuple[str, ...] = ()
    """Parameters that were drawn anew while the others were loaded."""
    widths_vary: bool = False
    """Whether rows are taken apart into texts, each as wide as it is: a compiler would meet a new shape in every part."""
    auxiliary_loss: Tensor | None = None
    """Set by a forward pass in training where a family has one: to be added to the mean loss per token."""

    @property
    def context_length(self) -> int:
        """Tokens that a prediction can see."""
        return int(self.config.context)

    def materialise(self, device: str | None = None) -> None:
        """Compute on `device` what is no weight (tables of positions): loading weights does not bring it."""


class Decoder(Network):
    """Predicts every token from those before it."""

    carries_state = False
    """Whether the cache is a state of fixed size, so that text may be longer than the context."""
    reads_prefix = False
    """Whether it learned to read what it goes on from both ways (a prefix language model): prompts are then read so. Saved with
    the model."""
    takes_padding = True
    """Whether texts of unlike length go through together, padded at the beginning (`TextCache.padding_B`)."""

    def forward(
        self,
        ids_BT: Tensor,
        segments_BT: Tensor | None = None,
        cache: Sequence[Any] | None = None,
        prefix_BT: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, T, V) of the token after each position.

        Args:
            ids_BT: token ids.
            segments_BT: the number of the document of each position, where a row holds several: nothing crosses a border.
            cache: from `new_cache`; `ids_BT` then goes on after what it holds. Not together with segments.
            prefix_BT: True where a position belongs to the prefix of its document: all positions of the document see it, those
                before it, too. Only while the cache is empty and without padding.
        """
        logits: Tensor = self.head(self.hidden(ids_BT, segments_BT, cache, prefix_BT))
        return logits

    def hidden(
        self,
        ids_BT: Tensor,
        segments_BT: Tensor | None = None,
        cache: Sequence[Any] | None = None,
        prefix_BT: Tensor | None = None,
    ) -> Tensor:
        """The last hidden states (B, T, C): what the logits are made from.

        Raises:
            ModelError: when there is a prefix, and the network cannot look ahead.
        """
        raise NotImplementedError

    def new_cache(self, rows: int, length: int) -> Sequence[TextCache]:
        """An empty cache for `length` positions (at most the context), one entry per layer."""
        raise NotImplementedError


class Encoder(Network):
    """Sees a whole text at once."""

    def forward(self, ids_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """Logits of the head: (B, T, V) for language, (B, T, labels) for tokens, (B, labels) for sequences."""
        logits: Tensor = self.head(self.hidden(ids_BT, segments_BT))
        return logits

    def hidden(self, ids_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """What the head is given (B, T, C): of our families the last hidden states."""
        raise NotImplementedError

    def states(self, ids_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """The last hidden states (B, T, C)."""
        return self.hidden(ids_BT, segments_BT)


class EncoderDecoder(Network):
    """Reads a source, predicts every token of a target from the source and the tokens before it."""

    start_id: int = 0
    """What a target begins with, as an input of the decoder."""

    def forward(
        self,
        source_BS: Tensor,
        target_BT: Tensor,
        source_segments_BS: Tensor | None = None,
        segments_BT: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, T, V) of the target token after each position of `target_BT`, which begins with `start_id`."""
        memory_BSC = self.encode(source_BS, source_segments_BS)
        logits: Tensor = self.head(self.hidden(target_BT, memory_BSC, source_segments_BS, segments_BT))
        return logits

    def encode(self, source_BS: Tensor, source_segments_BS: Tensor | None = None) -> Tensor:
        """The source's hidden states (B, S, C)."""
        raise NotImplementedError

    def hidden(
        self,
        target_BT: Tensor,
        memory_BSC: Tensor,
        source_segments_BS: Tensor | None = None,
        segments_BT: Tensor | None = None,
        cache: Sequence[Any] | None = None,
    ) -> Tensor:
        """The decoder's last hidden states (B, T, C).

        Args:
            target_BT: decoder inputs.
            memory_BSC: from `encode`.
            source_segments_BS: of the source; a target position sees the source positions of its own segment.
            segments_BT: of the target; without them every position belongs to segment 0.
            cache: from `new_cache`; `target_BT` then goes on after what it holds.
        """
        raise NotImplementedError

    def new_cache(self, memory_BSC: Tensor, length: int, beams: int = 1) -> Sequence[CacheEntry]:
        """An empty cache for `length` target positions, with the source's keys and values; where there are several `beams`, the
        target's rows are those of the first source, then those of the second, and so on."""
        raise NotImplementedError
