"""Texts that grow side by side: each that still grows has a row of one cache.

    texts that wait --read, padded on the left--> rows --one id for each, again and again--> texts that ended
            ^                                      |
            '------ the context is full -----------'   the last half of it is read again

What ended leaves its row; when half of the rows are free, texts that wait are read and join, so that one long answer does not
hold up the others. A text's ids do not depend on what is written beside it, but for the last bits of sums.

R rows, T positions, V vocabulary. Slots are the places of a cache: a row's own positions are its last ones, padding before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lmpipe.models.drawing import Drawing, Sampler, draw
from lmpipe.models.network import Decoder, TextCache
from lmpipe.models.passes import positions_at_once, rows_at_once

Window = tuple[int, ...]
"""The ids that are read of a text."""


class Text:
    """One text in growth."""

    def __init__(self, drawing: Drawing, start_id: int) -> None:
        self.drawing = drawing
        self.ids = list(drawing.prompt_ids) or [start_id]
        self.drawn: list[int] = []
        self.sampler = Sampler(drawing.temperature, drawing.top_k, drawing.top_p, drawing.seed)
        self.ended = drawing.max_new_tokens == 0
        self._stop_ids = frozenset(drawing.stop_ids)

    @property
    def left(self) -> int:
        """New ids that it may still get."""
        return self.drawing.max_new_tokens - len(self.drawn)

    def push(self, token: int) -> None:
        """One id more."""
        self.ids.append(token)
        self.drawn.append(token)
        self.ended = not self.drawing.goes_on(token) or token in self._stop_ids or not self.left

    def window(self, model: Decoder) -> Window:
        """What is read of it, before anything was drawn or once the context is full."""
        if model.carries_state:
            return tuple(self.ids)
        return tuple(self.ids[-max(1, model.context_length // 2) :] if self.drawn else self.ids[-model.context_length :])


class Waiting(NamedTuple):
    """A text that is to be read."""

    window: Window
    text: Text


class Writing:
    """Some texts, and the rows of those that are being written.

    Example:
        `for _ in Writing(model, texts).steps(): ...` gives every text of `texts` its ids; each step, one id to each row.
    """

    def __init__(self, model: Decoder, texts: Sequence[Text], *, known_ids: int | None = None) -> None:
        """Store the arguments.

        Args:
            model: predicts, dropout off.
            texts: to be gone on with; nothing is read before the first step.
            known_ids: only ids below this are drawn; None: all.
        """
        self.model, self.known_ids = model, known_ids
        self.device = next(model.parameters()).device
        self._pads = model.takes_padding and not model.reads_prefix  # padding would be read as a part of the prefix
        waiting = [Waiting(text.window(model), text) for text in texts if not text.ended]
        self._waiting = deque(sorted(waiting, key=lambda one: (-len(one.window), one.window)))
        self._rows: list[Text] = []
        self._padding: list[int] = []
        self._cache: Sequence[TextCache] = ()
        self._logits: list[Tensor] = []

    def steps(self) -> Iterator[list[Text]]:
        """Write until all have ended; after each step, the texts that got an id. Between two steps nothing runs."""
        while self._step():
            growing = [row for row, text in enumerate(self._rows) if not text.ended]
            logits_RV = torch.cat(self._logits)
            if len(growing) < len(self._rows):
                logits_RV = logits_RV[growing]
            texts = [self._rows[row] for row in growing]
            for text, token in zip(texts, draw(logits_RV, [text.sampler for text in texts]), strict=True):
                text.push(token)
            yield texts

    @torch.inference_mode()
    def _step(self) -> bool:
        """Logits for every row; whether there is any."""
        self._leave()
        self._logits = []
        if self._rows:
            ids_R1 = torch.tensor([[text.ids[-1]] for text in self._rows], device=self.device)
            self._logits.append(self._logits_of(self.model.hidden(ids_R1, cache=self._cache)))
        self._admit()
        return bool(self._rows)

    def _logits_of(self, hidden_RTC: Tensor) -> Tensor:
        logits_RV: Tensor = self.model.head(hidden_RTC[:, -1])[:, : self.known_ids]  # only the last position needs logits
        return logits_RV

    def _leave(self) -> None:
        """Rows go that ended, once they are a quarter, since moving the others costs; and those whose context is full, which
        wait to be read again."""
        if not self._rows:
            return
        slots, context = self._cache[0].length, self.model.context_length
        bounded = not self.model.carries_state
        full = [text for text, padding in zip(self._rows, self._padding, strict=True) if bounded and slots - padding == context]
        again = [text for text in full if not text.ended]
        staying = [row for row, text in enumerate(self._rows) if not text.ended and text not in again]
        self._waiting.extendleft(Waiting(text.window(self.model), text) for text in reversed(again))
        if staying and not full and 4 * len(staying) > 3 * len(self._rows):
            return
        drop = min((self._padding[row] for row in staying), default=0)
        self._rows = [self._rows[row] for row in staying]
        self._padding = [self._padding[row] - drop for row in staying]
        rows_R = torch.tensor(staying, device=self.device)
        room = self._room(slots - drop)
        self._keep([entry.take(rows_R, drop, room) for entry in self._cache] if staying else ())

    def _admit(self) -> None:
        """Read texts that wait, where half of the rows are free."""
        if not self._waiting:
            return
        limit = rows_at_once(self.device.type, self._size(self._waiting[0]))
        if len(self._rows) > limit // 2:
            return
        parts, slots = ([self._cache], self._cache[0].length) if self._rows else ([], 0)
        lengths = [slots - padding for padding in self._padding]
        read: list[tuple[list[Window], list[Waiting]]] = []
        while self._waiting and len(self._rows) < limit and self._may_join(len(self._waiting[0].window), lengths):
            windows, chosen = self._chunk(limit - len(self._rows))
            read.append((windows, chosen))
            self._rows += [one.text for one in chosen]
            lengths += [len(one.window) for one in chosen]
        if not read:
            return
        slots = max(lengths)
        room = self._room(slots)
        for windows, chosen in read:
            part, logits_RV = self._read(windows, chosen, room)
            parts.append(part)
            self._logits.append(logits_RV)
        self._padding = [0 if self.model.carries_state else slots - length for length in lengths]
        self._keep(parts[0] if len(parts) == 1 else [first.join(others, room) for first, *others in zip(*parts, strict=True)])

    def _may_join(self, length: int, lengths: Sequence[int]) -> bool:
        return not lengths or self._pads or self.model.carries_state or length == lengths[0]

    def _chunk(self, most: int) -> tuple[list[Window], list[Waiting]]:
        """The next texts that wait, and their windows: equal ones once, of like length where they cannot be padded."""
        windows: dict[Window, None] = {}
        chosen: list[Waiting] = []
        longest = 0
        while self._waiting and len(chosen) < most:
            window = self._waiting[0].window
            alike = not longest or self._pads or len(window) == longest
            fits = (len(windows) + 1) * max(longest, len(window)) <= positions_at_once(self.device.type)
            if windows and window not in windows and not (alike and fits):
                break
            windows[window] = None
            longest = max(longest, len(window))
            chosen.append(self._waiting.popleft())
        return [*windows], chosen

    def _read(self, windows: Sequence[Window], chosen: Sequence[Waiting], room: int) -> tuple[Sequence[TextCache], Tensor]:
        """The cache of these texts and their logits, a row for each."""
        longest = max(map(len, windows))
        padding = [longest - len(window) for window in windows]
        ids_RT = torch.tensor([[0] * pad + [*window] for pad, window in zip(padding, windows, strict=True)], device=self.device)
        shared = len(windows) < len(chosen)
        cache = self.model.new_cache(len(windows), longest if shared else max(room, longest))
        if any(padding):
            _pad(cache, torch.tensor(padding, device=self.device))
        prefix_RT = torch.ones_like(ids_RT, dtype=torch.bool) if self.model.reads_prefix else None
        logits_RV = self._logits_of(self.model.hidden(ids_RT, cache=cache, prefix_BT=prefix_RT))
        if shared:
            places = {window: row for row, window in enumerate(windows)}
            rows_R = torch.tensor([places[one.window] for one in chosen], device=self.device)
            cache, logits_RV = [entry.take(rows_R, 0, room) for entry in cache], logits_RV[rows_R]
        return cache, logits_RV

    def _keep(self, cache: Sequence[TextCache]) -> None:
        self._cache = cache
        _pad(cache, torch.tensor(self._padding, device=self.device) if any(self._padding) else None)

    def _size(self, waiting: Waiting) -> int:
        """Positions that a text may have in a cache."""
        whole = len(waiting.window) + waiting.text.left
        return whole if self.model.carries_state else min(self.model.context_length, whole)

    def _room(self, slots: int) -> int:
        """Slots that the rows may need from now on."""
        return min(self.model.context_length, slots + max((text.left for text in self._rows if not text.ended), default=0))


def _pad(cache: Sequence[TextCache], padding_R: Tensor | None) -> None:
    for entry in cache:
        entry.padding_B = padding_R
