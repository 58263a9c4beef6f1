"""Draws answers for many callers: one thread, a bounded queue, no HTTP.

    submit --> waiting (`queue_limit`) --> running (`slots`, one token each in turn) --> deliver

Promises: a caller that cancels frees its place before the next token of anyone is drawn; what one answer says does not depend
on its neighbours; one answer that fails does not stop the others; a full queue refuses at once. Turns share the time fairly,
they do not make the sum faster: there is no batching yet.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lmpipe.base.errors import LmpipeError, ServingError
from lmpipe.models.api import Generator
from lmpipe.serving.answers import Piece, Sampling, answer
from lmpipe.tokens.tokenizer import Tokenizer

IDLE_SECONDS = 1.0
"""How long the thread sleeps at most, so that its heart beats while nobody asks."""
STUCK_SECONDS = 30.0
"""No heartbeat for this long means that the thread hangs: no step of a model that fits here takes as long."""

Deliver = Callable[[Piece | LmpipeError], None]
"""Takes each piece, or the error that ended the answer. Called from the engine's thread: must not block."""

_log = logging.getLogger(__name__)


class QueueFullError(ServingError):
    """As many answers are waiting as may."""


@dataclass(eq=False)
class Job:
    """One answer in the making."""

    prompt_ids: Sequence[int]
    sampling: Sampling
    deliver: Deliver
    cancelled: bool = False
    pieces: Iterator[Piece] | None = None


class Engine:
    """The thread and its queue. `close` ends it."""

    def __init__(self, generator: Generator, tokenizer: Tokenizer, *, queue_limit: int = 32, slots: int = 4) -> None:
        self.generator, self.tokenizer = generator, tokenizer
        self.queue_limit, self.slots = queue_limit, slots
        self._waiting: deque[Job] = deque()
        self._running: deque[Job] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="lmpipe-engine", daemon=True)

    def start(self) -> None:
        """Begin to draw."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread lives and its heart beats."""
        return self._thread.is_alive() and time.monotonic() - self._beat < STUCK_SECONDS

    @property
    def waiting(self) -> int:
        """Answers that have not begun."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Answers that have."""
        return len(self._running)

    def submit(self, prompt_ids: Sequence[int], sampling: Sampling, deliver: Deliver) -> Job:
        """Ask for an answer.

        Raises:
            QueueFullError: when too many wait.
            ServingError: when the engine was closed.
        """
        job = Job(prompt_ids, sampling, deliver)
        with self._changed:
            if self._closing or not self._thread.is_alive():
                raise ServingError("the engine is closed", expected="a running engine", fix="start the server again")
            # All of both, since the thread may not have come round yet to give free places to those who wait.
            at_work = sum(not job.cancelled for job in self._running)
            if len(self._waiting) + at_work >= self.queue_limit + self.slots:
                raise QueueFullError(f"{len(self._waiting)} requests are waiting already", fix="try again a little later")
            self._waiting.append(job)
            self._changed.notify()
        return job

    def cancel(self, job: Job) -> None:
        """Stop working on `job`: at most the token now in work is still drawn. Any number of times, also late."""
        with self._changed:
            job.cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)

    def close(self) -> None:
        """End the thread. Answers not yet finished get an error."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._beat = time.monotonic()
                self._running = deque(job for job in self._running if not job.cancelled)
                while self._waiting and len(self._running) < self.slots:
                    self._running.append(self._waiting.popleft())
                if self._closing:
                    break
                if not self._running:
                    self._changed.wait(IDLE_SECONDS)
                    continue
                job = self._running[0]
                self._running.rotate(-1)
            if not self._step(job):
                with self._changed:
                    self._running.remove(job)
        self._abandon()

    def _step(self, job: Job) -> bool:
        """Draw one token; whether more may follow."""
        try:
            if job.pieces is None:
                job.pieces = answer(self.generator, self.tokenizer, job.prompt_ids, job.sampling)
            piece = next(job.pieces)
        except LmpipeError as error:
            self._hand_over(job, error)
            return False
        except Exception:
            _log.exception("an answer failed")  # the traceback has no prompt in it
            self._hand_over(job, ServingError("the answer could not be finished", fix="see the server's log"))
            return False
        self._hand_over(job, piece)
        return piece.finish_reason is None

    def _hand_over(self, job: Job, what: Piece | LmpipeError) -> None:
        if job.cancelled:
            return
        try:
            job.deliver(what)
        except Exception:  # the caller is gone, its event loop closed
            job.cancelled = True

    def _abandon(self) -> None:
        with self._changed:
            left = [*self._running, *self._waiting]
            self._running.clear()
            self._waiting.clear()
        for job in left:
            self._hand_over(job, ServingError("the server stopped before the answer was finished", fix="ask again"))
