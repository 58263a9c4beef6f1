"""What the documents of a corpus are, beside plain text: which of their columns is the answer. Imports nothing heavy.

labels          a text and its class, or classes          sentiment, topics, intents
scores          a text and a number                       ratings, grades
tags            words and a tag for each                  parts of speech, entities
pairs           a text and what becomes of it             summaries, translations
matches         a query and a passage that answers it     search, paraphrases, frequent questions
preferences     a prompt and two answers, one preferred   what people like, DPO
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lmpipe.base.config import Config


class LabelsConfig(Config):
    """Texts with a class each, or with several."""

    kind: Literal["labels"] = "labels"
    column: str = Field(default="label", min_length=1)
    """Holds the class: text, a whole number or true/false; with `several`, a list, or text with `separator` in it."""
    several: bool = False
    """Whether a text may have any number of classes, none included."""
    separator: str = Field(default=",", min_length=1)
    """Stands between classes that are written as one text."""
    names: dict[str, str] = Field(default_factory=dict)
    """What classes are called, where the column holds codes: `{"0": negative, "1": positive}`. Others keep their code."""
    none_of_them: str | None = None
    """The class of texts that belong to no other (out of scope): it is not learned, and asked of the threshold instead."""

    def columns(self) -> tuple[str, ...]:
        """Columns beside the text."""
        return (self.column,)


class ScoresConfig(Config):
    """Texts with a number each."""

    kind: Literal["scores"] = "scores"
    column: str = Field(default="score", min_length=1)
    """Holds the number."""

    def columns(self) -> tuple[str, ...]:
        """Columns beside the text."""
        return (self.column,)


class TagsConfig(Config):
    """Texts of words (with one space between two words) with a tag for each."""

    kind: Literal["tags"] = "tags"
    column: str = Field(default="tags", min_length=1)
    """Holds the tags: a list, or text with one space between two tags."""

    def columns(self) -> tuple[str, ...]:
        """Columns beside the text."""
        return (self.column,)


class PairsConfig(Config):
    """Texts and what is to be made of them."""

    kind: Literal["pairs"] = "pairs"
    column: str = Field(default="target", min_length=1)
    """Holds the target: text, or a list of texts, of which the first is learned and all count when a model is measured."""
    prefix: str = ""
    """Put before every text, as T5 is told what to do: `summarize: `."""

    def columns(self) -> tuple[str, ...]:
        """Columns beside the text."""
        return (self.column,)


class MatchesConfig(Config):
    """Queries (the text) and a passage that belongs to each: what a search should find."""

    kind: Literal["matches"] = "matches"
    column: str = Field(default="passage", min_length=1)
    """Holds the passage: text, or a list of texts, of which the first is learned and all count when a model is measured."""

    def columns(self) -> tuple[str, ...]:
        """Columns beside the text."""
        return (self.column,)


class PreferencesConfig(Config):
    """Prompts with two answers, of which one was preferred; or (`unpaired`) with one, liked or not."""

    kind: Literal["preferences"] = "preferences"
    column: str = Field(default="chosen", min_length=1)
    """Holds the answer that was preferred."""
    rejected: str = Field(default="rejected", min_length=1)
    """Holds the other one."""
    unpaired: bool = False
    """Whether a document may have one of the two alone: an answer that was liked, or one that was not. Only the loss `kto`
    learns from those."""
    rendered: Literal["chat", "text"] = "chat"
    """chat: the prompt is what a user says (or a list of messages as JSON), and the assistant answers; text: the answer goes
    directly on with the prompt."""

    def columns(self) -> tuple[str, ...]:
        """Columns beside the text."""
        return (self.column, self.rejected)


ExamplesConfig = Annotated[LabelsConfig | ScoresConfig | TagsConfig | PairsConfig | MatchesConfig, Field(discriminator="kind")]
AnsweredConfig = Annotated[
    LabelsConfig | ScoresConfig | TagsConfig | PairsConfig | MatchesConfig | PreferencesConfig, Field(discriminator="kind")
]
Holds = Literal["text", "conversations"] | AnsweredConfig
"""A word where nothing more is to be said."""


def kind_held(holds: Holds) -> str:
    """What documents are, in a word.

    >>> kind_held("text"), kind_held(PairsConfig(column="summary"))
    ('text', 'pairs')
    """
    return holds if isinstance(holds, str) else holds.kind


def columns_held(holds: Holds) -> tuple[str, ...]:
    """Columns beside the text that a reader must keep."""
    return () if isinstance(holds, str) else holds.columns()
