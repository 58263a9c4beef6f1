"""How a recipe makes a chatbot: what teaches the intents, and where snippets come from besides those that are written out."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config
from lmpipe.models.linear.config import LinearConfig
from lmpipe.serving.chatbot.config import ChatbotConfig
from lmpipe.serving.chatbot.entities.config import TaggedConfig
from lmpipe.serving.chatbot.understanding_config import FixedThreshold

CHATBOT_METRICS = ("chatbot.in_scope_accuracy", "chatbot.accepted", "chatbot.out_of_scope_recall")
"""On test messages, at the threshold that validation messages chose."""


SPAN_METRICS = ("chatbot.entity_precision", "chatbot.entity_recall", "chatbot.entity_f1")
"""Of the tagger, on test sentences: whole entities, from their first word to their last."""


class ModelIntents(Config):
    """The recipe's own model tells the intents apart: its last phase learns to classify `messages`."""

    kind: Literal["model"] = "model"


class MadeChatbotConfig(ChatbotConfig):
    """A chatbot that a recipe makes."""

    messages: str | None = None
    """A corpus (a name under `data:`) that holds messages with their intents: its training side teaches them, with the
    `examples` of `intents`; its validation side chooses the threshold; its test side says how good that is. Messages of the
    class `none_of_them` are out of scope. Null: the examples alone, and a fixed threshold."""
    classifier: Annotated[LinearConfig | ModelIntents, Field(discriminator="kind")] = LinearConfig()
    """What tells intents apart: a linear classifier of its own, or the recipe's model."""
    snippets_from: str | None = None
    """A corpus of text whose documents (Markdown is cut at its headings) are snippets, too."""

    encoder: str | None = None
    """What gives snippets and questions their vectors, where `snippets.embedding` asks for a search by meaning: a bundle of
    embeddings, the folder of an encoder in Hugging Face layout, or `hub:org/name`. The chatbot carries it."""
    spans_from: str | None = None
    """A corpus of words with tags (`B-city`, `I-city`, `O`) whose training side teaches the tagger that finds entities of kind
    `tagged`, and whose test side says how well. Words are written as the bot takes messages apart: punctuation stands alone."""

    def corpora(self) -> dict[str, str]:
        """The corpora that it names, by their field."""
        named = {"messages": self.messages, "snippets_from": self.snippets_from, "spans_from": self.spans_from}
        return {field: name for field, name in named.items() if name is not None}

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        if self.messages is None and isinstance(self.classifier, ModelIntents):
            raise ValueError("chatbot.classifier is the model, which learns from a corpus; expected `messages` to name it")
        if self.messages is None and not isinstance(self.understanding.threshold, FixedThreshold):
            raise ValueError(
                "chatbot.understanding.threshold is to be chosen on messages, and `messages` names none; expected kind: fixed"
            )
        if self.snippets.embedding is not None and self.encoder is None:
            raise ValueError("chatbot.snippets.embedding needs vectors; expected an encoder in chatbot.encoder, or bm25 alone")
        if self.snippets.embedding is None and self.encoder is not None:
            raise ValueError("chatbot.encoder is dead: chatbot.snippets.embedding asks for no vectors; expected both or none")
        tagged = [entity.name for entity in self.entities if isinstance(entity, TaggedConfig)]
        if tagged and self.spans_from is None:
            raise ValueError(f"the entity '{tagged[0]}' needs a tagger; expected `spans_from`, a corpus that teaches one")
        if self.spans_from is not None and not tagged:
            raise ValueError("chatbot.spans_from is dead: no entity is of kind tagged")
        return self
