"""Summaries that need no learning, by numbers: what stands beside a summarizer. Knows no library."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lmpipe.base.config import Config


class ExtractConfig(Config):
    """Some sentences of the text itself."""

    kind: str
    sentences: int = Field(default=1, ge=1, le=100)
    """How many."""

    @property
    def name(self) -> str:
        """Part of the names of its numbers."""
        return f"{self.kind}_{self.sentences}"


class LeadConfig(ExtractConfig):
    """The first sentences of the text: hard to beat on news."""

    kind: Literal["lead"] = "lead"


class TextRankConfig(ExtractConfig):
    """The sentences that have most words in common with the others (Mihalcea and Tarau 2004)."""

    kind: Literal["textrank"] = "textrank"


class OracleConfig(ExtractConfig):
    """The sentences nearest to the reference, chosen with it at hand (Nallapati et al. 2017): what no extract beats."""

    kind: Literal["oracle"] = "oracle"


ExtractiveConfig = Annotated[LeadConfig | TextRankConfig | OracleConfig, Field(discriminator="kind")]
