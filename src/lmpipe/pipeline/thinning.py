"""Progress figures come once per batch, thousands a second; ten a second are enough to watch. The last one is never lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

PER_SECOND = 10.0
Figure = tuple[float, float | None, str, Mapping[str, float | str]]
"""done, total, unit, values."""


class Thinned:
    """Passes figures on, at most ten a second; `flush` passes on the last one that was held back."""

    def __init__(self, send: Callable[[float, float | None, str, Mapping[str, float | str]], None]) -> None:
        self._send = send
        self._held: Figure | None = None
        self._sent_at = -1.0

    def update(self, done: float, total: float | None, unit: str, values: Mapping[str, float | str]) -> None:
        """Pass on, or hold back."""
        self._held = (done, total, unit, values)
        if time.monotonic() - self._sent_at >= 1 / PER_SECOND:
            self.flush()

    def flush(self) -> None:
        """Pass on what is held back."""
        if self._held is not None:
            figure, self._held = self._held, None
            self._sent_at = time.monotonic()
            self._send(*figure)
