"""A bundle tuned to chat as the writer of a chatbot; a bundle that classifies as what tells its intents apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lmpipe.serving.answers import Sampling
from lmpipe.serving.bundle import Bundle
from lmpipe.serving.chatbot.grounding.prompt import Message
from lmpipe.serving.task_bundle import TaskBundle


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


class BundleIntents:
    """Tells intents apart with a bundle; see `understanding.IntentClassifier`."""

    def __init__(self, bundle: TaskBundle) -> None:
        self.bundle = bundle

    @property
    def labels(self) -> Sequence[str]:
        """The intents, in the order of the columns."""
        return self.bundle.labels

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.floating]:
        """Shape (texts, labels), at the temperature chosen on validation messages."""
        answers = self.bundle.classify(texts)
        return np.array([[answer.probabilities[label] for label in self.labels] for answer in answers])
