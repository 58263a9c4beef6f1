"""One answer as a stream of texts: ids drawn, decoded, and cut at a stop string. What chat, server and Python entry share.

Promises: the pieces joined are the same text however they are delivered; no piece holds half a character or any part of a stop
string; an answer ends at the first control token, at the first stop string or after `max_tokens`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lmpipe.models.api import Generator
from lmpipe.tokens.streaming import StreamDecoder
from lmpipe.tokens.tokenizer import Tokenizer

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to draw an answer."""

    max_tokens: int = 200
    temperature: float = 0.8
    """0: always the most probable token."""
    top_p: float = 1.0
    top_k: int = 0
    """0: among all."""
    seed: int | None = None
    """None: another answer each time."""
    stop: tuple[str, ...] = ()
    """Strings that end the answer and are no part of it."""


@dataclass(frozen=True)
class Piece:
    """What one drawn token added."""

    text: str
    """Often empty: in the middle of a character, or while a stop string may be beginning."""
    finish_reason: FinishReason | None = None
    """Set on the last piece, which may stand for no token (`max_tokens` 0)."""
    tokens: int = 1


def answer(generator: Generator, tokenizer: Tokenizer, prompt_ids: Sequence[int], sampling: Sampling) -> Iterator[Piece]:
    """The pieces of one answer; the last has a finish reason. Each `next` draws one token at most."""
    controls = tokenizer.stop_ids
    tokens = generator.generate(
        prompt_ids,
        max_new_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        seed=secrets.randbits(63) if sampling.seed is None else sampling.seed,
        stop_ids=controls,
    )
    return _pieces(tokens, StreamDecoder(tokenizer), StopStrings(sampling.stop), controls, sampling.max_tokens)


def written(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of an answer that was drawn whole: what the pieces of `answer` are together, where no string stops it."""
    pieces = _pieces(iter(ids), StreamDecoder(tokenizer), StopStrings(()), tokenizer.stop_ids, len(ids))
    return "".join(piece.text for piece in pieces)


def _pieces(
    tokens: Iterator[int], decoder: StreamDecoder, stops: StopStrings, controls: frozenset[int], max_tokens: int
) -> Iterator[Piece]:
    if max_tokens == 0:
        yield Piece("", "length", tokens=0)
    for number, token in enumerate(tokens, start=1):
        text = stops.push(decoder.push(token))
        if stops.found:
            yield Piece(text, "stop")
            return
        if token in controls or number == max_tokens:
            text += stops.push(decoder.finish())
            text += stops.finish()
            yield Piece(text, "stop" if stops.found or token in controls else "length")
            return
        yield Piece(text)


class StopStrings:
    """Passes text on up to the first stop string, holding back what may be the beginning of one.

    >>> stops = StopStrings(["END"])
    >>> [stops.push("a E"), stops.push("N"), stops.push("e"), stops.push("END b"), stops.found]
    ['a ', '', 'ENe', '', True]
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = tuple(stop for stop in stops if stop)
        self.found = False
        self._held = ""

    def push(self, text: str) -> str:
        """What of the text so far is sure to lie before any stop string; nothing after one was found."""
        if self.found:
            return ""
        text = self._held + text
        places = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if places:
            self.found, self._held = True, ""
            return text[: min(places)]
        sure = len(text) - self._beginning(text)
        self._held = text[sure:]
        return text[:sure]

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        held, self._held = self._held, ""
        return held

    def _beginning(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        longest = max((len(stop) - 1 for stop in self.stops), default=0)
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self.stops):
                return length
        return 0
