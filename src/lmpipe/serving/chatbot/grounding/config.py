"""What a user may ask of answers from their own text: the snippets, how they are searched, and what a generator is told."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from lmpipe.base.config import Config
from lmpipe.models.bm25.config import Bm25Parameters
from lmpipe.serving.chatbot.names import Text

FUNCTION_WORDS = (
    "a", "about", "am", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "could", "did", "do", "does",
    "for", "from", "had", "has", "have", "how", "i", "if", "in", "is", "it", "its", "me", "my", "of", "on", "or", "our",
    "please", "s", "shall", "should", "t", "that", "the", "their", "them", "there", "these", "they", "this", "those", "to",
    "us", "was", "we", "were", "what", "when", "where", "which", "who", "why", "will", "with", "would", "you", "your",
)  # fmt: skip
"""English words that hold sentences together."""


class SnippetConfig(Config):
    """A piece of text that answers something."""

    id: str = Field(min_length=1, max_length=200, pattern=r"^\S+$")
    """What it is called in citations and stories."""
    text: Text
    """What is true, in words that may be quoted."""
    title: str = Field(default="", max_length=200)
    """Shown in citations, and searched."""
    source: str = Field(default="", max_length=1000)
    """Where it stands: a file, an address."""
    questions: tuple[Text, ...] = ()
    """Questions that it answers: searched, never shown."""


class Bm25Config(Bm25Parameters):
    """Search by words: BM25 (Robertson and Zaragoza 2009)."""

    ignored: tuple[str, ...] = FUNCTION_WORDS
    """Words that do not count for the threshold, unless a question has no others: in a small collection "when" and "you" may be
    the rarest words. For the ranking they do count (benchmarks/RESULTS.md says why)."""
    threshold: float = Field(default=0.25, ge=0, le=1)
    """The share of the score that a snippet would have if it held every word of the question very often, from which on it
    answers. What suits depends on the snippets: `choose_threshold` finds it on questions with and without an answer."""


class EmbeddingConfig(Config):
    """Search by meaning: the cosine of two embeddings. Needs an embedder."""

    threshold: float = Field(default=0.5, ge=-1, le=1)
    """The cosine from which on a snippet answers."""


class SnippetsConfig(Config):
    """The text that answers may come from, and how it is searched."""

    items: tuple[SnippetConfig, ...] = ()
    """The snippets themselves; a recipe may add those of files."""
    bm25: Bm25Config | None = Bm25Config()
    """Search by words; null: none."""
    embedding: EmbeddingConfig | None = None
    """Search by meaning; null: none."""
    fusion: int = Field(default=60, ge=1)
    """Two searches are joined by the sum of 1 / (this + rank) (Cormack, Clarke and Büttcher 2009, who found 60)."""
    candidates: int = Field(default=50, ge=1, le=10_000)
    """How many of each search are joined."""
    results: int = Field(default=3, ge=1, le=50)
    """How many snippets an answer may use."""

    @model_validator(mode="after")
    def _is_searched(self) -> Self:
        if self.bm25 is None and self.embedding is None:
            raise ValueError("snippets that are never searched; expected `bm25`, `embedding` or both")
        ids = [item.id for item in self.items]
        if len(set(ids)) < len(ids):
            twice = next(name for name in ids if ids.count(name) > 1)
            raise ValueError(f"two snippets are called '{twice}'; expected each id once")
        return self


class GenerationConfig(Config):
    """What a generator is told, and how much of it is used."""

    answers: bool = True
    """Whether a generator, where there is one, writes answers from snippets; else the best snippet is quoted, and it only
    chats."""
    instructions: Text = (
        "Answer the question from the numbered texts alone, in one to three sentences. "
        "Where they do not say it, answer that you do not know."
    )
    """Before the snippets."""
    small_talk: Text = "You are a friendly assistant. Answer in one short sentence. Promise nothing and state no facts."
    """For small talk."""
    prompt_tokens: int = Field(default=768, ge=32)
    """Tokens of instructions, snippets, conversation and question together, at most; what is least important is left out."""
    max_tokens: int = Field(default=120, ge=1)
    """Tokens of an answer, at most."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """0: always the most probable token."""
    seed: int = Field(default=1, ge=0)
    """Equal seeds give equal answers."""
    history: int = Field(default=2, ge=0, le=50)
    """Earlier turns that are shown, as far as they fit."""
    quote_unsupported: bool = True
    """Whether a generated sentence with a number, an address or a name that neither the snippets nor the question have is held
    back, and the best snippet quoted instead."""
