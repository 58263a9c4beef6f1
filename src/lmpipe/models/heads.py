"""What stands on top of a network, by numbers. Knows no tensor library.

A family's own head predicts tokens; the others give labels, or a vector. Labels are saved with the model (`id2label` in
config.json), and so is how a vector is made (`1_Pooling/config.json`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lmpipe.base.config import Config

Pooling = Literal["mean", "cls"]


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


class EmbeddingHead(Config):
    """One vector for a text, made of its hidden states; it has no weights."""

    kind: Literal["embedding"] = "embedding"
    pooling: Pooling = "mean"
    """The mean over the text's positions, or what stands at its first one (`cls`)."""


Head = Annotated[LanguageHead | SequenceHead | TokenHead | EmbeddingHead, Field(discriminator="kind")]
