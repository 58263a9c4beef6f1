"""One function for each kind: a document and a random stream to the text of a copy, or to the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from lmpipe.data.augmentation.config import (
    AugmentConfig,
    BackTranslationConfig,
    CaseConfig,
    EdaConfig,
    KeyboardConfig,
    OcrConfig,
    ParaphraseConfig,
    PunctuationConfig,
    TemplatesConfig,
)
from lmpipe.data.augmentation.facts import Facts, NotMade
from lmpipe.data.augmentation.keyboard import mistype
from lmpipe.data.augmentation.ocr import misread
from lmpipe.data.augmentation.rewriting import Rewriter
from lmpipe.data.augmentation.surface import recase, with_punctuation, without_punctuation
from lmpipe.data.augmentation.templates import fill_from
from lmpipe.data.augmentation.words import Synonyms, edit_words
from lmpipe.data.documents import Document
from lmpipe.data.generation.asking import Asker


class Maker(Protocol):
    """Makes the copies of one kind."""

    def prepare(self, documents: Sequence[Document], facts: Facts) -> None:
        """Get ready for these documents; all their copies are asked for before the next call."""

    def __call__(self, document: Document, copy: int, stream: Random) -> str | NotMade:
        """The text of one copy."""


@dataclass(frozen=True)
class ByRule:
    """Kinds that need nothing but the document."""

    part: AugmentConfig
    synonyms: Synonyms

    def prepare(self, documents: Sequence[Document], facts: Facts) -> None:
        """Nothing to do."""

    def __call__(self, document: Document, copy: int, stream: Random) -> str | NotMade:
        """The text of one copy."""
        text = document.text
        match self.part:
            case EdaConfig(operations=operations, rate=rate):
                return edit_words(text, stream.choice(operations), rate, stream, self.synonyms)
            case KeyboardConfig(layout=layout, rate=rate, errors=errors):
                return mistype(text, layout, rate, errors, stream)
            case OcrConfig(rate=rate):
                return misread(text, rate, stream)
            case CaseConfig(styles=styles):
                return recase(text, stream.choice(styles))
            case PunctuationConfig(operations=operations):
                return without_punctuation(text) if stream.choice(operations) == "remove" else with_punctuation(text, stream)
            case TemplatesConfig():
                return fill_from(self.part, document, stream)
            case BackTranslationConfig() | ParaphraseConfig():
                raise TypeError("a generator writes these")


def maker_of(part: AugmentConfig, seed: int, synonyms: Synonyms, askers: Mapping[str, Asker]) -> Maker:
    """What makes the copies of one kind.

    Args:
        part: the kind.
        seed: of the recipe.
        synonyms: for `eda`.
        askers: by kind, for those whose copies a generator writes.
    """
    if isinstance(part, BackTranslationConfig | ParaphraseConfig):
        return Rewriter(part, seed, askers[part.kind])
    return ByRule(part, synonyms)
