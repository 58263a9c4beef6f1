"""Progress: how work that takes time says how far it is. The work knows only this; a terminal or a notebook shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives how far a stage is. Calls are cheap enough for once per batch; the receiver thins them out."""

    def update(self, done: float, total: float | None, unit: str, **values: float | str) -> None:
        """`done` of `total` (None: unknown) `unit`s are finished; `values` are shown beside it (loss, learning_rate, ...)."""

    def note(self, text: str) -> None:
        """One line that a user should see once: a warning, a decision taken, a resume."""


class Silent:
    """Shows nothing."""

    def update(self, done: float, total: float | None, unit: str, **values: float | str) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""
