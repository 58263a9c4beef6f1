"""Questions to a generator and its answers: asked once, kept for good, given in the order of the questions.

    questions --> remembered? --yes--> answer
                      `--no--> generator (so many at a time) --> answers/ab/abcd....json --> answer

An answer is kept by the digest of its question (who is asked, what, how), written whole before anything else is done with it: a
kill loses only the answers under way, a changed threshold or a further question asks for nothing twice. Damaged files count as
absent. Knows neither HTTP nor models: a generator is handed in.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lmpipe.base.canonical import digest_of
from lmpipe.base.errors import EndpointError
from lmpipe.base.files import write_json
from lmpipe.data.generation.config import SamplingConfig

REFUSED_AT_FIRST = 8
"""When none of the first questions is accepted, it is the way of asking that is wrong, not a question."""


@dataclass(frozen=True)
class Question:
    """What a generator is asked."""

    messages: tuple[tuple[str, str], ...]
    """(role, content)."""
    sampling: SamplingConfig
    seed: int
    """Of the random draw, where the generator takes one; below 2**31."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    text: str
    finish: str
    """`stop`; `length` where `max_tokens` cut it off; or the server's own word."""
    tokens_in: int | None = None
    tokens_out: int | None = None


@dataclass(frozen=True)
class Refusal:
    """The generator does not take this question (too long, not allowed), and would not the next time."""

    reason: str


class Generator(Protocol):
    """Who answers. `ask` is called from several threads at a time, never more than `concurrency`."""

    @property
    def identity(self) -> Mapping[str, str]:
        """What tells its answers from those of others; goes into the data card, holds no secret."""

    @property
    def concurrency(self) -> int:
        """Questions that may be under way at a time."""

    def ask(self, question: Question) -> Answer | Refusal:
        """One answer.

        Raises:
            LmpipeError: when asking on makes no sense.
        """


@dataclass
class Asker:
    """A generator with a memory of what it answered."""

    generator: Generator
    folder: Path
    calls: int = 0
    """Questions that the generator was asked, so far."""
    remembered: int = 0
    """Questions that had an answer already."""
    _refused: list[str] = field(default_factory=list)
    _answered: bool = False

    def digest(self, question: Question) -> str:
        """What an answer is kept under."""
        sampling = question.sampling.model_dump(mode="json")
        messages = [list(message) for message in question.messages]
        asked = {"messages": messages, "sampling": sampling, "seed": question.seed}
        return digest_of({"generator": dict(self.generator.identity), **asked})

    def answers(self, questions: Iterable[Question]) -> Iterator[Answer | Refusal]:
        """Answers in the order of the questions, which are taken as they are needed.

        Raises:
            LmpipeError: from the generator. Answers that were under way are kept before it is passed on.
        """
        width = self.generator.concurrency
        waiting: deque[Future[Answer | Refusal]] = deque()
        with ThreadPoolExecutor(width, thread_name_prefix="lmpipe-asking") as pool:
            try:
                for question in questions:
                    waiting.append(self._found(question) or pool.submit(self._ask, question))
                    if len(waiting) >= 2 * width:
                        yield self._noted(waiting.popleft().result())
                while waiting:
                    yield self._noted(waiting.popleft().result())
            finally:
                for future in waiting:
                    future.cancel()

    def _found(self, question: Question) -> Future[Answer | Refusal] | None:
        answer = self._remember(self.digest(question))
        if answer is None:
            self.calls += 1
            return None
        self.remembered += 1
        done: Future[Answer | Refusal] = Future()
        done.set_result(answer)
        return done

    def _ask(self, question: Question) -> Answer | Refusal:
        answer = self.generator.ask(question)
        if isinstance(answer, Answer):
            write_json(self._path(self.digest(question)), asdict(answer))
        return answer

    def _noted(self, answer: Answer | Refusal) -> Answer | Refusal:
        if isinstance(answer, Answer):
            self._answered = True
        elif not self._answered:
            self._refused.append(answer.reason)
            if len(self._refused) >= REFUSED_AT_FIRST:
                raise EndpointError(
                    f"none of the first {REFUSED_AT_FIRST} questions was accepted: {answer.reason}",
                    where=", ".join(self.generator.identity.values()),
                    expected="a generator that takes these prompts and settings",
                    fix="correct the model's name, `sampling`, `send_seed` or the prompts",
                )
        return answer

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.json"

    def _remember(self, digest: str) -> Answer | None:
        try:
            return Answer(**json.loads(self._path(digest).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


@dataclass
class Usage:
    """What answers took. A pure function of the answers, whenever and from whom they came."""

    questions: int = 0
    refused: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    uncounted: int = 0
    """Answers whose tokens nobody counted."""

    def book(self, answer: Answer | Refusal) -> None:
        """Count one."""
        self.questions += 1
        if isinstance(answer, Refusal):
            self.refused += 1
            return
        self.tokens_in += answer.tokens_in or 0
        self.tokens_out += answer.tokens_out or 0
        self.uncounted += answer.tokens_in is None or answer.tokens_out is None

    def add(self, other: Mapping[str, int]) -> None:
        """Take in what `asdict` gave."""
        for name, count in other.items():
            setattr(self, name, getattr(self, name) + count)

    def to_json(self) -> dict[str, int]:
        """Plain data."""
        return asdict(self)


def account(usage: Usage, identity: Mapping[str, str], price: Any) -> dict[str, Any]:
    """Usage, who was asked, and what it costs where the recipe names prices."""
    facts: dict[str, Any] = {"generator": dict(identity), **usage.to_json()}
    if price is not None:
        amount = (usage.tokens_in * price.input_per_million + usage.tokens_out * price.output_per_million) / 1e6
        facts["cost"] = {"amount": round(amount, 6), "currency": price.currency}
    return facts
