"""A bundle tuned to chat as the writer of a chatbot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lmpipe.serving.answers import Sampling
from lmpipe.serving.bundle import Bundle
from lmpipe.serving.chatbot.grounding.prompt import Message


class BundleWriter:
    """Writes with a bundle; see `session.Writer`."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.bundle.tokenizer.encode(text))

    def write(self, messages: Sequence[Message], *, max_tokens: int, temperature: float, seed: int) -> Iterator[str]:
        """The answer, in pieces.

        Raises:
            ServingError: when the messages are not a conversation.
        """
        return self.bundle.stream_chat(messages, Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed))
