"""What can be measured of a document, as the identity of the measuring: no bounds, so that changing one computes nothing again.

Each class names its columns in the sidecar, `<kind>.<score>`. Data only; neither numpy nor pyarrow is imported here.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lmpipe.base.config import Config
from lmpipe.data.filters.line_rules import LineRules

ColumnType = Literal["int64", "float64", "string"]


class ScoreGroup(Config):
    """What all groups have."""

    COLUMNS: ClassVar[dict[str, ColumnType]]
    """Names of the scores without the kind, and their Arrow types."""
    kind: str
    """Names the group."""


class LengthScores(ScoreGroup):
    """Characters and words."""

    COLUMNS: ClassVar[dict[str, ColumnType]] = {"characters": "int64", "words": "int64"}

    kind: Literal["length"] = "length"


class GopherQualityScores(ScoreGroup):
    """What Gopher's quality rules look at."""

    COLUMNS: ClassVar[dict[str, ColumnType]] = {
        "words": "int64",
        "mean_word_characters": "float64",
        "hash_fraction": "float64",
        "ellipsis_fraction": "float64",
        "bullet_line_fraction": "float64",
        "ellipsis_line_fraction": "float64",
        "lettered_word_fraction": "float64",
        "stop_words": "int64",
    }

    kind: Literal["gopher_quality"] = "gopher_quality"
    stop_words: tuple[str, ...] = Field(
        default=("the", "be", "to", "of", "and", "that", "have", "with"), min_length=1, max_length=1000
    )
    """Words that running text has; the default is Gopher's, for English. Other languages need their own."""


class GopherRepetitionScores(ScoreGroup):
    """What Gopher's repetition rules look at."""

    COLUMNS: ClassVar[dict[str, ColumnType]] = {
        "duplicate_line_fraction": "float64",
        "duplicate_paragraph_fraction": "float64",
        "duplicate_line_character_fraction": "float64",
        "duplicate_paragraph_character_fraction": "float64",
        "top_2_gram_fraction": "float64",
        "top_3_gram_fraction": "float64",
        "top_4_gram_fraction": "float64",
        "duplicate_5_gram_fraction": "float64",
        "duplicate_6_gram_fraction": "float64",
        "duplicate_7_gram_fraction": "float64",
        "duplicate_8_gram_fraction": "float64",
        "duplicate_9_gram_fraction": "float64",
        "duplicate_10_gram_fraction": "float64",
    }

    kind: Literal["gopher_repetition"] = "gopher_repetition"


class C4Scores(ScoreGroup, LineRules):
    """What C4's page rules look at, in the lines that its line rules leave."""

    COLUMNS: ClassVar[dict[str, ColumnType]] = {
        "sentences": "int64",
        "lorem_ipsum_lines": "int64",
        "curly_bracket_lines": "int64",
    }

    kind: Literal["c4"] = "c4"


class FinewebScores(ScoreGroup):
    """What FineWeb's own rules look at."""

    COLUMNS: ClassVar[dict[str, ColumnType]] = {
        "terminated_line_fraction": "float64",
        "short_line_fraction": "float64",
        "duplicate_line_character_fraction": "float64",
        "line_feeds_per_word": "float64",
    }

    kind: Literal["fineweb"] = "fineweb"
    short_line_characters: int = Field(default=30, ge=1)
    """Lines of at most so many characters are short."""


class CodeScores(ScoreGroup):
    """What the filters of code collections look at."""

    COLUMNS: ClassVar[dict[str, ColumnType]] = {
        "max_line_characters": "int64",
        "mean_line_characters": "float64",
        "alphanumeric_fraction": "float64",
        "comment_line_fraction": "float64",
        "generated": "int64",
    }

    kind: Literal["code"] = "code"


class LanguageScores(ScoreGroup):
    """The language of a document, and how sure that is."""

    COLUMNS: ClassVar[dict[str, ColumnType]] = {"language": "string", "confidence": "float64"}

    kind: Literal["language"] = "language"


class WordsScores(ScoreGroup):
    """How often words of a list occur."""

    COLUMNS: ClassVar[dict[str, ColumnType]] = {"count": "int64"}

    kind: Literal["words"] = "words"
    path: str = Field(min_length=1)
    """A text file with one word or phrase per line (the layout of LDNOOBW), upper and lower case the same."""
    whole_words: bool = True
    """Count only what stands between characters that belong to no word; off for languages written without spaces."""


class UrlsScores(ScoreGroup):
    """Whether a document comes from a listed place."""

    COLUMNS: ClassVar[dict[str, ColumnType]] = {"listed": "int64"}

    kind: Literal["urls"] = "urls"
    path: str = Field(min_length=1)
    """A text file with one domain (`example.org`, its subdomains too) or beginning of a URL (`example.org/ads/`) per line."""
    url_key: str = "url"
    """Where a document's metadata hold its URL; without one, the name of its source is taken."""


ScoreConfig = Annotated[
    LengthScores
    | GopherQualityScores
    | GopherRepetitionScores
    | C4Scores
    | FinewebScores
    | CodeScores
    | LanguageScores
    | WordsScores
    | UrlsScores,
    Field(discriminator="kind"),
]


class MeasureConfig(Config):
    """Which groups of scores are computed."""

    scores: tuple[ScoreConfig, ...] = Field(min_length=1)
    """Groups, each at most once."""


def columns_of(group: ScoreGroup) -> dict[str, ColumnType]:
    """The columns of one group in a sidecar: `{"length.characters": "int64", ...}`."""
    kind = type(group).model_fields["kind"].default
    return {f"{kind}.{name}": kind_of_value for name, kind_of_value in group.COLUMNS.items()}
