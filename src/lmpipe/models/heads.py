"""What stands on top of a network, by numbers. Knows no tensor library.

A family's own head predicts tokens; the others give labels. Labels are saved with the model (`id2label` in config.json).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lmpipe.base.config import Config


class LanguageHead(Config):
    """Logits over the vocabulary at every position: the family's own head."""

    kind: Literal["language"] = "language"


class SequenceHead(Config):
    """Logits over labels, one set for a text."""

    kind: Literal["sequence"] = "sequence"
    labels: tuple[str, ...] = Field(min_length=1)
    """Names of the labels, in the order of their ids."""


class TokenHead(Config):
    """Logits over labels at every position."""

    kind: Literal["token"] = "token"
    labels: tuple[str, ...] = Field(min_length=1)
    """Names of the labels, in the order of their ids."""


Head = Annotated[LanguageHead | SequenceHead | TokenHead, Field(discriminator="kind")]
