"""Which documents stay: scores that are computed, bounds on them. Data only; neither numpy nor pyarrow is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from lmpipe.base.config import Config


@dataclass(frozen=True)
class Rule:
    """A bound on one score. The name goes into ledgers and says what removed a document."""

    name: str
    score: str
    at_least: float | None = None
    at_most: float | None = None


class LengthConfig(Config):
    """Bounds on the length of a document."""

    kind: Literal["length"] = "length"
    min_characters: int | None = Field(default=1, ge=1)
    """Fewest characters."""
    max_characters: int | None = Field(default=None, ge=1)
    """Most characters."""
    min_words: int | None = Field(default=None, ge=1)
    """Fewest words (runs of characters that are not white space)."""
    max_words: int | None = Field(default=None, ge=1)
    """Most words."""

    def rules(self) -> list[Rule]:
        """The bounds that are set."""
        return _set_rules(
            Rule("length.min_characters", "characters", at_least=self.min_characters),
            Rule("length.max_characters", "characters", at_most=self.max_characters),
            Rule("length.min_words", "words", at_least=self.min_words),
            Rule("length.max_words", "words", at_most=self.max_words),
        )


Fraction = Annotated[float, Field(ge=0, le=1)]


class RepetitionConfig(Config):
    """Bounds on repetition within a document; the defaults are those of Gopher (Rae et al. 2021, arXiv 2112.11446, table A1).

    They were chosen for English web pages. Source code, tables and lists repeat themselves more; `null` takes a bound away."""

    kind: Literal["repetition"] = "repetition"
    max_duplicate_line_fraction: Fraction | None = 0.30
    """Lines that stood before, by all lines."""
    max_duplicate_paragraph_fraction: Fraction | None = 0.30
    """Paragraphs that stood before, by all paragraphs."""
    max_duplicate_line_character_fraction: Fraction | None = 0.20
    """Characters in lines that stood before, by all characters."""
    max_duplicate_paragraph_character_fraction: Fraction | None = 0.20
    """Characters in paragraphs that stood before, by all characters."""
    max_top_2_gram_fraction: Fraction | None = 0.20
    """Characters in occurrences of the most frequent pair of words, by all characters."""
    max_top_3_gram_fraction: Fraction | None = 0.18
    """The same for three words."""
    max_top_4_gram_fraction: Fraction | None = 0.16
    """The same for four words."""
    max_duplicate_5_gram_fraction: Fraction | None = 0.15
    """Characters in words covered by a run of five words that stood before, by all characters."""
    max_duplicate_6_gram_fraction: Fraction | None = 0.14
    """The same for six words."""
    max_duplicate_7_gram_fraction: Fraction | None = 0.13
    """The same for seven words."""
    max_duplicate_8_gram_fraction: Fraction | None = 0.12
    """The same for eight words."""
    max_duplicate_9_gram_fraction: Fraction | None = 0.11
    """The same for nine words."""
    max_duplicate_10_gram_fraction: Fraction | None = 0.10
    """The same for ten words."""

    def rules(self) -> list[Rule]:
        """The bounds that are set."""
        bounds = {
            "duplicate_line_fraction": self.max_duplicate_line_fraction,
            "duplicate_paragraph_fraction": self.max_duplicate_paragraph_fraction,
            "duplicate_line_character_fraction": self.max_duplicate_line_character_fraction,
            "duplicate_paragraph_character_fraction": self.max_duplicate_paragraph_character_fraction,
            "top_2_gram_fraction": self.max_top_2_gram_fraction,
            "top_3_gram_fraction": self.max_top_3_gram_fraction,
            "top_4_gram_fraction": self.max_top_4_gram_fraction,
            "duplicate_5_gram_fraction": self.max_duplicate_5_gram_fraction,
            "duplicate_6_gram_fraction": self.max_duplicate_6_gram_fraction,
            "duplicate_7_gram_fraction": self.max_duplicate_7_gram_fraction,
            "duplicate_8_gram_fraction": self.max_duplicate_8_gram_fraction,
            "duplicate_9_gram_fraction": self.max_duplicate_9_gram_fraction,
            "duplicate_10_gram_fraction": self.max_duplicate_10_gram_fraction,
        }
        return _set_rules(*(Rule(f"repetition.max_{score}", score, at_most=bound) for score, bound in bounds.items()))


def _set_rules(*rules: Rule) -> list[Rule]:
    return [rule for rule in rules if (rule.at_least, rule.at_most) != (None, None)]


FilterConfig = LengthConfig | RepetitionConfig


class MeasureConfig(Config):
    """Which groups of scores are computed. No thresholds: changing one must not compute a score again."""

    scores: tuple[Literal["length", "repetition"], ...] = Field(min_length=1)
    """Groups, each at most once."""


class SelectConfig(Config):
    """Which documents stay: bounds on scores, in this order, after duplicates went."""

    filters: tuple[Annotated[FilterConfig, Field(discriminator="kind")], ...] = ()
    """A document is dropped by the first bound that it breaks."""

    def rules(self) -> list[Rule]:
        """All bounds, in order."""
        return [rule for part in self.filters for rule in part.rules()]
