"""From a group of scores to the function that computes it for a batch, and the one place that knows all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lmpipe.data.filters.batch import Batch
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

Scorer = Callable[[Batch], list[Any]]
"""Gives one array per column of its group, with one value per text."""


def scorer_of(group: ScoreGroup, files: Mapping[str, str]) -> Scorer:
    """The function that computes a group; what it needs is imported and read here, once.

    Args:
        group: which scores.
        files: where the files that groups name are opened, by name.

    Raises:
        MissingExtraError: when the group needs a library that is not installed.
        SourceError: when a list cannot be read.
    """
    match group:
        case LengthScores():
            from lmpipe.data.filters.length import length_scores

            return length_scores
        case GopherQualityScores():
            from lmpipe.data.filters.gopher import GopherQuality

            return GopherQuality(group.stop_words)
        case GopherRepetitionScores():
            from lmpipe.data.filters.repetition import repetition_scores

            return repetition_scores
        case C4Scores():
            from lmpipe.data.filters.c4 import C4

            return C4(group)
        case FinewebScores():
            from lmpipe.data.filters.fineweb import fineweb_scores

            return fineweb_scores(group.short_line_characters)
        case CodeScores():
            from lmpipe.data.filters.code import code_scores

            return code_scores
        case LanguageScores():
            from lmpipe.data.filters.language import LanguageFinder

            return LanguageFinder()
        case WordsScores():
            from lmpipe.data.filters.lists import WordList, read_list

            return WordList(read_list(group.path, files[group.path]), whole_words=group.whole_words)
        case UrlsScores():
            from lmpipe.data.filters.lists import UrlList, read_list

            return UrlList(read_list(group.path, files[group.path]), group.url_key)
    raise TypeError(f"no scores of kind {type(group).__name__}")
