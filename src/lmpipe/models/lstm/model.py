"""A recurrent decoder for one device, in one reading: embed, then layers that walk along the text, then logits.

    ids_BT > embedding > [ layer: state(t) = cell(state(t-1), x(t)) ] x layers > head > logits_BTV

B rows, T positions, C width, V vocabulary, N segments. Every document begins with an empty state: the segments of packed rows
are taken apart and run side by side. When predicting, the state is carried, so texts may be longer than the context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lmpipe.models.heads import Head
from lmpipe.models.layers.positions import positions_of
from lmpipe.models.lstm.config import LstmConfig
from lmpipe.models.network import Decoder, refuse_prefix

CELLS = {"lstm": nn.LSTM, "rnn": nn.RNN}


@dataclass
class State:
    """What one layer carries along: its output, and an LSTM's cell."""

    output_1BC: Tensor | None = None
    cell_1BC: Tensor | None = None
    length: int = 0
    padding_B: Tensor | None = None
    """Never any: there are no positions."""

    def take(self, rows: Tensor, drop: int, room: int) -> State:
        """As `network.TextCache.take`."""
        output, cell = (None if part is None else part[:, rows] for part in (self.output_1BC, self.cell_1BC))
        return State(output, cell, self.length)

    def join(self, others: Sequence[State], room: int) -> State:
        """As `network.TextCache.join`."""
        states = (self, *others)
        outputs = [state.output_1BC for state in states if state.output_1BC is not None]
        cells = [state.cell_1BC for state in states if state.cell_1BC is not None]
        length = max(state.length for state in states)
        return State(torch.cat(outputs, dim=1), torch.cat(cells, dim=1) if cells else None, length)


class Lstm(Decoder):
    """A recurrent decoder.

    Weights start uniformly within 1 / sqrt(width), as torch's own; an LSTM's forget gates start open (Jozefowicz et al. 2015).
    """

    carries_state = True
    takes_padding = False

    def __init__(self, config: LstmConfig, vocab_size: int) -> None:
        super().__init__()
        self.config: LstmConfig = config
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, config.width)
        cell = CELLS[config.cell]
        self.layers = nn.ModuleList(cell(config.width, config.width, batch_first=True) for _ in range(config.layers))
        self.head = nn.Linear(config.width, vocab_size)
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight
        self._initialise()

    def hidden(
        self,
        ids_BT: Tensor,
        segments_BT: Tensor | None = None,
        cache: Sequence[State] | None = None,
        prefix_BT: Tensor | None = None,
    ) -> Tensor:
        """The last layer's outputs (B, T, C)."""
        refuse_prefix(prefix_BT, "a recurrent model walks along the text, so that it cannot look ahead")
        x_BTC = self.embedding(ids_BT)
        if segments_BT is None:
            return self._run(x_BTC, None, cache)
        places_BT = positions_of(ids_BT, segments_BT)
        segment_BT = ((places_BT == 0).flatten().cumsum(0) - 1).view(ids_BT.shape)
        lengths_N = torch.bincount(segment_BT.flatten())
        apart_NTC = x_BTC.new_zeros(len(lengths_N), int(lengths_N.max()), x_BTC.shape[-1])
        apart_NTC = apart_NTC.index_put((segment_BT, places_BT), x_BTC)
        return self._run(apart_NTC, lengths_N.cpu(), None)[segment_BT, places_BT]

    def _run(self, x_BTC: Tensor, lengths_B: Tensor | None, cache: Sequence[State] | None) -> Tensor:
        """All layers over rows that each are one text."""
        x_BTC = self._drop(x_BTC)
        for number, layer in enumerate(self.layers):
            state = cache[number] if cache else State()
            before = _given(state)
            if lengths_B is None:
                x_BTC, after = layer(x_BTC, before)
            else:
                packed, after = layer(pack_padded_sequence(x_BTC, lengths_B, batch_first=True, enforce_sorted=False), before)
                x_BTC = pad_packed_sequence(packed, batch_first=True)[0]
            state.output_1BC, state.cell_1BC = after if isinstance(after, tuple) else (after, None)
            state.length += x_BTC.shape[1]
            x_BTC = self._drop(x_BTC)
        return x_BTC

    def _drop(self, x_BTC: Tensor) -> Tensor:
        """The same activations at every position of a row ("variational", "locked")."""
        if not (self.training and self.config.dropout):
            return x_BTC
        kept = 1.0 - self.config.dropout
        mask_B1C = torch.empty_like(x_BTC[:, :1]).bernoulli_(kept) / kept
        return x_BTC * mask_B1C

    def new_cache(self, rows: int, length: int) -> list[State]:
        """Empty states, one per layer; `length` does not matter, and rows follow from the first text."""
        return [State() for _ in self.layers]

    @torch.no_grad()
    def _initialise(self) -> None:
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.head.get_parameter("bias"))
        width = self.config.width
        for layer in self.layers if self.config.cell == "lstm" else ():
            layer.get_parameter("bias_ih_l0")[width : 2 * width].fill_(1.0)


def _given(state: State) -> Tensor | tuple[Tensor, Tensor] | None:
    """A state as torch's layers take it."""
    if state.output_1BC is None:
        return None
    return state.output_1BC if state.cell_1BC is None else (state.output_1BC, state.cell_1BC)


def build(config: LstmConfig, vocab_size: int, head: Head) -> Lstm:
    """As `families.build`; the only head is the language head."""
    return Lstm(config, vocab_size)
