"""From a message to what it means: intents with probabilities, whether it is in scope, entities. Models are handed in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import ServingError
from lmpipe.serving.chatbot.config import ChatbotConfig
from lmpipe.serving.chatbot.entities.extraction import Extractor
from lmpipe.serving.chatbot.entities.found import Entity
from lmpipe.serving.chatbot.entities.tags import Tagger

RANKED = 5
"""How many of the most probable intents are kept."""


class IntentClassifier(Protocol):
    """Gives every intent its probability. `models.linear` satisfies it, and so will a bundle for classification."""

    @property
    def labels(self) -> Sequence[str]:
        """The intents, in the order of the columns."""

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.floating]:
        """Shape (texts, labels); each row sums to 1."""


@dataclass(frozen=True)
class Understanding:
    """What a message means."""

    text: str
    ranking: tuple[tuple[str, float], ...]
    """The most probable intents with their probabilities, best first."""
    in_scope: bool
    """Whether the first of them is believed."""
    entities: tuple[Entity, ...] = ()

    @property
    def intent(self) -> str:
        """The most probable intent."""
        return self.ranking[0][0]

    @property
    def probability(self) -> float:
        """Its probability."""
        return self.ranking[0][1]

    @property
    def margin(self) -> float:
        """How far the second one is behind."""
        return self.probability - (self.ranking[1][1] if len(self.ranking) > 1 else 0.0)


class Understander:
    """Understands messages.

    Args:
        config: the chatbot.
        classifier: gives intents their probabilities.
        threshold: from which probability on an intent is believed.
        tagger: finds what is `tagged`.

    Raises:
        ServingError: when the classifier does not know exactly the intents of the chatbot, or a tagger is missing.
    """

    def __init__(
        self, config: ChatbotConfig, classifier: IntentClassifier, *, threshold: float, tagger: Tagger | None = None
    ) -> None:
        self.classifier, self.threshold = classifier, threshold
        self.out_of_scope = config.understanding.out_of_scope
        self._extractor = Extractor(config.entities, tagger)
        expected = set(config.intent_by_name) | ({self.out_of_scope} if self.out_of_scope else set())
        missing, unknown = sorted(expected - set(classifier.labels)), sorted(set(classifier.labels) - expected)
        if missing or unknown:
            which = f"does not know '{missing[0]}'" if missing else f"knows '{unknown[0]}', which the chatbot does not"
            raise ServingError(
                f"the intent classifier {which}",
                expected=f"the {len(expected)} intents of the chatbot",
                fix="train the classifier on examples of each intent, and of no others",
            )

    def understand(self, text: str, *, today: date, asked: Collection[str] = ()) -> Understanding:
        """What a message means.

        Args:
            text: the message.
            today: what days in it are relative to.
            asked: entities that the bot has just asked for.

        Raises:
            ServingError: when the classifier gives no probabilities.
        """
        probabilities_K = np.asarray(self.classifier.probabilities([text]), np.float64)[0]
        if not np.isfinite(probabilities_K).all():
            raise ServingError("the intent classifier gave a probability that is not a number", expected="numbers from 0 to 1")
        order = np.argsort(-probabilities_K, kind="stable")
        ranking = [(self.classifier.labels[place], float(probabilities_K[place])) for place in order[: RANKED + 1]]
        in_scope = ranking[0][0] != self.out_of_scope and ranking[0][1] >= self.threshold
        kept = tuple(pair for pair in ranking if pair[0] != self.out_of_scope)[:RANKED]
        return Understanding(text, kept, in_scope, tuple(self._extractor.find(text, today, asked)))
