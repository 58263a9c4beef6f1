"""Ctrl-C and SIGTERM: asked once, a stage may save its work; asked twice, it ends at once.

Either way the error is `Interrupted`, the exit code is 128 + the signal's number (130 for Ctrl-C, 143 for SIGTERM), nothing is
lost but the time since the stage's last save, and the same command goes on.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from lmpipe.base.errors import LmpipeError

GRACE_SECONDS = 30.0
"""How long a stage that listens may take to save its work."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(LmpipeError):
    """The user, or the system, asked the run to stop."""

    def __init__(self, what: str, *, where: str = "", expected: str = "", fix: str = "", signum: int = signal.SIGINT) -> None:
        super().__init__(what, where=where, expected=expected, fix=fix)
        self.exit_code = 128 + signum  # type: ignore[misc]  # the shell's convention; two signals, one class


def interrupted(signum: int) -> Interrupted:
    """The error for a signal."""
    name = signal.Signals(signum).name
    return Interrupted(f"interrupted by {name}", fix="run the same command again: it goes on where it was", signum=signum)


class Interruption:
    """Catches the signals while it is entered. Outside the main thread Python has no handlers, and it catches nothing."""

    def __init__(self) -> None:
        self.signum = 0
        self.count = 0
        self._listening: Callable[[], bool] = _never
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {signum: signal.signal(signum, self._handle) for signum in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        self.count += 1
        if self.count > 1 or not self._listening():
            raise interrupted(signum)

    @contextmanager
    def deferred(self, listening: Callable[[], bool]) -> Iterator[None]:
        """Within the block, while `listening()`, the first signal only sets `signum`: whoever works there looks and stops."""
        self._listening = listening
        try:
            yield
        finally:
            self._listening = _never


def _never() -> bool:
    return False
