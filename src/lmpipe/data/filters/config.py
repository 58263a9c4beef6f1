"""Which documents stay: bounds on scores. Each preset names its source, and every number of it stands in the resolved recipe.

A filter is a group of scores (`scores.py`: what is measured) and bounds on them. Data only; neither numpy nor pyarrow is
imported here. `null` takes a bound away.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from lmpipe.base.config import Config
from lmpipe.data.filters.bounds import Bounds, Count, Filter, Fraction, Rule
from lmpipe.data.filters.scores import (
    C4Scores,
    CodeScores,
    FinewebScores,
    GopherQualityScores,
    GopherRepetitionScores,
    LanguageScores,
    LengthScores,
    ScoreGroup,
    UrlsScores,
    WordsScores,
)
from lmpipe.data.filters.trained_config import TrainedConfig


class MeasuredFilter(Filter):
    """A filter whose scores the `measure` stage computes from the text alone."""

    SCORES: ClassVar[type[ScoreGroup]]

    def scores(self) -> ScoreGroup:
        """What must be measured."""
        return self.SCORES(**{name: getattr(self, name) for name in self.SCORES.model_fields})


class LengthConfig(MeasuredFilter, LengthScores):
    """Bounds on the length of a document."""

    SCORES = LengthScores
    BOUNDS: ClassVar[Bounds] = {
        "min_characters": ("characters", "at_least"),
        "max_characters": ("characters", "at_most"),
        "min_words": ("words", "at_least"),
        "max_words": ("words", "at_most"),
    }

    min_characters: int | None = Field(default=1, ge=1)
    """Fewest characters."""
    max_characters: int | None = Field(default=None, ge=1)
    """Most characters."""
    min_words: int | None = Field(default=None, ge=1)
    """Fewest words (runs of characters that are not white space)."""
    max_words: int | None = Field(default=None, ge=1)
    """Most words."""


class GopherQualityConfig(MeasuredFilter, GopherQualityScores):
    """The quality rules of Gopher (Rae et al. 2021, arXiv 2112.11446, section A.1.1), for English web pages."""

    SCORES = GopherQualityScores
    BOUNDS: ClassVar[Bounds] = {
        "min_words": ("words", "at_least"),
        "max_words": ("words", "at_most"),
        "min_mean_word_characters": ("mean_word_characters", "at_least"),
        "max_mean_word_characters": ("mean_word_characters", "at_most"),
        "max_hash_fraction": ("hash_fraction", "at_most"),
        "max_ellipsis_fraction": ("ellipsis_fraction", "at_most"),
        "max_bullet_line_fraction": ("bullet_line_fraction", "at_most"),
        "max_ellipsis_line_fraction": ("ellipsis_line_fraction", "at_most"),
        "min_lettered_word_fraction": ("lettered_word_fraction", "at_least"),
        "min_stop_words": ("stop_words", "at_least"),
    }

    min_words: Count | None = 50
    """Fewest words that are not punctuation only (Gopher)."""
    max_words: Count | None = 100_000
    """Most such words (Gopher)."""
    min_mean_word_characters: float | None = Field(default=3.0, ge=0)
    """Smallest mean length of those words (Gopher)."""
    max_mean_word_characters: float | None = Field(default=10.0, ge=0)
    """Greatest mean length of those words (Gopher)."""
    max_hash_fraction: float | None = Field(default=0.1, ge=0)
    """Most hash signs per word (Gopher)."""
    max_ellipsis_fraction: float | None = Field(default=0.1, ge=0)
    """Most ellipses per word (Gopher)."""
    max_bullet_line_fraction: Fraction | None = 0.9
    """Most lines that begin with a bullet, by all lines (Gopher)."""
    max_ellipsis_line_fraction: Fraction | None = 0.3
    """Most lines that end in an ellipsis, by all lines (Gopher)."""
    min_lettered_word_fraction: Fraction | None = 0.8
    """Fewest words with a letter in them, by all words (Gopher)."""
    min_stop_words: Count | None = 2
    """Fewest different stop words (Gopher)."""


class GopherRepetitionConfig(MeasuredFilter, GopherRepetitionScores):
    """The repetition rules of Gopher (Rae et al. 2021, arXiv 2112.11446, table A1).

    They were chosen for English web pages. Source code, tables and lists repeat themselves more."""

    SCORES = GopherRepetitionScores
    BOUNDS: ClassVar[Bounds] = {f"max_{score}": (score, "at_most") for score in GopherRepetitionScores.COLUMNS}

    max_duplicate_line_fraction: Fraction | None = 0.30
    """Lines that stood before, by all lines (Gopher)."""
    max_duplicate_paragraph_fraction: Fraction | None = 0.30
    """Paragraphs that stood before, by all paragraphs (Gopher)."""
    max_duplicate_line_character_fraction: Fraction | None = 0.20
    """Characters in lines that stood before, by all characters (Gopher)."""
    max_duplicate_paragraph_character_fraction: Fraction | None = 0.20
    """Characters in paragraphs that stood before, by all characters (Gopher)."""
    max_top_2_gram_fraction: Fraction | None = 0.20
    """Characters in occurrences of the most frequent pair of words, by all characters (Gopher)."""
    max_top_3_gram_fraction: Fraction | None = 0.18
    """The same for three words (Gopher)."""
    max_top_4_gram_fraction: Fraction | None = 0.16
    """The same for four words (Gopher)."""
    max_duplicate_5_gram_fraction: Fraction | None = 0.15
    """Characters in runs of five words that stood before, by all characters (Gopher)."""
    max_duplicate_6_gram_fraction: Fraction | None = 0.14
    """The same for six words (Gopher)."""
    max_duplicate_7_gram_fraction: Fraction | None = 0.13
    """The same for seven words (Gopher)."""
    max_duplicate_8_gram_fraction: Fraction | None = 0.12
    """The same for eight words (Gopher)."""
    max_duplicate_9_gram_fraction: Fraction | None = 0.11
    """The same for nine words (Gopher)."""
    max_duplicate_10_gram_fraction: Fraction | None = 0.10
    """The same for ten words (Gopher)."""


class C4Config(MeasuredFilter, C4Scores):
    """The page rules of C4 (Raffel et al. 2020, JMLR 21, section 2.2), over the lines that its line rules leave.

    Text is not changed: `kind: lines` before it takes those lines out. The list of bad words is `kind: words`."""

    SCORES = C4Scores
    BOUNDS: ClassVar[Bounds] = {
        "max_lorem_ipsum_lines": ("lorem_ipsum_lines", "at_most"),
        "max_curly_bracket_lines": ("curly_bracket_lines", "at_most"),
        "min_sentences": ("sentences", "at_least"),
    }

    max_lorem_ipsum_lines: Count | None = 0
    """Most lines with "lorem ipsum" (C4)."""
    max_curly_bracket_lines: Count | None = 0
    """Most lines with an opening curly bracket (C4). Source code needs `null`."""
    min_sentences: Count | None = 5
    """Fewest sentences (C4)."""


class FinewebConfig(MeasuredFilter, FinewebScores):
    """The rules that FineWeb added (Penedo et al. 2024, arXiv 2406.17557, section 3.6)."""

    SCORES = FinewebScores
    BOUNDS: ClassVar[Bounds] = {
        "min_terminated_line_fraction": ("terminated_line_fraction", "at_least"),
        "max_short_line_fraction": ("short_line_fraction", "at_most"),
        "max_duplicate_line_character_fraction": ("duplicate_line_character_fraction", "at_most"),
        "max_line_feeds_per_word": ("line_feeds_per_word", "at_most"),
    }

    min_terminated_line_fraction: Fraction | None = 0.12
    """Fewest lines that end a sentence, by all lines (FineWeb)."""
    max_short_line_fraction: Fraction | None = 0.67
    """Most short lines, by all lines (FineWeb)."""
    max_duplicate_line_character_fraction: Fraction | None = 0.01
    """Most characters in lines that stood before, by all characters (datatrove's default, with which FineWeb was made; the
    paper names 0.1)."""
    max_line_feeds_per_word: float | None = Field(default=0.3, ge=0)
    """Most line feeds per word (datatrove's default, with which FineWeb was made)."""


class CodeConfig(MeasuredFilter, CodeScores):
    """The rules for source code of The Stack and StarCoder (Kocetkov et al. 2022, arXiv 2211.15533; Li et al. 2023,
    arXiv 2305.06161; bigcode-dataset, preprocessing)."""

    SCORES = CodeScores
    BOUNDS: ClassVar[Bounds] = {
        "max_line_characters": ("max_line_characters", "at_most"),
        "max_mean_line_characters": ("mean_line_characters", "at_most"),
        "min_alphanumeric_fraction": ("alphanumeric_fraction", "at_least"),
        "min_comment_line_fraction": ("comment_line_fraction", "at_least"),
        "max_comment_line_fraction": ("comment_line_fraction", "at_most"),
        "max_generated": ("generated", "at_most"),
    }

    max_line_characters: Count | None = 1000
    """Longest line (bigcode)."""
    max_mean_line_characters: float | None = Field(default=100.0, ge=0)
    """Greatest mean length of lines (bigcode)."""
    min_alphanumeric_fraction: Fraction | None = 0.25
    """Fewest letters and digits, by all characters (bigcode)."""
    min_comment_line_fraction: Fraction | None = 0.01
    """Fewest lines of comment, by all lines that are not empty (bigcode, there by characters)."""
    max_comment_line_fraction: Fraction | None = 0.8
    """Most lines of comment (bigcode)."""
    max_generated: Count | None = 0
    """0 drops files whose first five lines say that a program wrote them (The Stack)."""


class LanguageConfig(MeasuredFilter, LanguageScores):
    """The language of a document, found by py3langid, and by lingua where the text is short (extra [language]).

    What is found also becomes the document's `language`."""

    SCORES = LanguageScores
    BOUNDS: ClassVar[Bounds] = {"min_confidence": ("confidence", "at_least")}

    keep: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Languages that stay, as ISO 639-1 codes such as `en`; all when left out."""
    min_confidence: Fraction | None = 0.65
    """How sure the finding must be (FineWeb's bound, there for fastText)."""

    def rules(self) -> list[Rule]:
        """The languages, then the confidence."""
        keep = [] if self.keep is None else [Rule("language.keep", "language.language", one_of=self.keep)]
        return keep + super().rules()


class WordsConfig(MeasuredFilter, WordsScores):
    """A list of words that documents may not hold, such as C4's (List of Dirty, Naughty, Obscene, and Otherwise Bad Words).

    Such lists take out more texts by and about minorities than others (Dodge et al. 2021, arXiv 2104.08758)."""

    SCORES = WordsScores
    BOUNDS: ClassVar[Bounds] = {"max_count": ("count", "at_most")}

    max_count: Count = 0
    """Most occurrences (C4: none)."""


class UrlsConfig(MeasuredFilter, UrlsScores):
    """A list of domains and URLs whose documents go."""

    SCORES = UrlsScores
    BOUNDS: ClassVar[Bounds] = {"max_listed": ("listed", "at_most")}

    max_listed: int | None = Field(default=0, ge=0, le=1)
    """0 drops what is listed; `null` only records it."""


FilterConfig = (
    LengthConfig
    | GopherQualityConfig
    | GopherRepetitionConfig
    | C4Config
    | FinewebConfig
    | CodeConfig
    | LanguageConfig
    | WordsConfig
    | UrlsConfig
    | TrainedConfig
)


class SelectConfig(Config):
    """Which documents stay: bounds on scores, in this order, after duplicates went."""

    filters: tuple[Annotated[FilterConfig, Field(discriminator="kind")], ...] = ()
    """A document is dropped by the first bound that it breaks."""

    def rules(self) -> list[Rule]:
        """All bounds, in order."""
        return [rule for part in self.filters for rule in part.rules()]
