"""Which lines of a page are boilerplate: the line rules of C4, shared by the filter that counts and the step that removes."""

from __future__ import annotations

from pydantic import Field

from lmpipe.base.config import Config

POLICY_PHRASES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
"""TensorFlow Datasets, c4_utils.py, `_POLICY_SUBSTRINGS`."""


class LineRules(Config):
    """The line rules of C4 (Raffel et al. 2020, JMLR 21, section 2.2, and the reference code in TensorFlow Datasets).

    FineWeb left out the rule of terminal punctuation, which takes most from lists and dialogue."""

    terminal_punctuation: bool = True
    """Lines must end in one of `terminal_marks`, and not in `...`."""
    terminal_marks: tuple[str, ...] = Field(default=(".", "?", "!", '"', "'"), min_length=1)
    """What ends a sentence. The reference code knows straight quotation marks alone; for text that is set with typographic ones
    add `”` and `’`, or most dialogue goes."""
    min_words: int = Field(default=3, ge=0)
    """Fewest words (between white space) of a line."""
    max_word_characters: int | None = Field(default=1000, ge=1)
    """A line with a longer word goes."""
    javascript: bool = True
    """Lines that speak of JavaScript go."""
    policy_phrases: tuple[str, ...] = POLICY_PHRASES
    """Lines with one of these phrases go; upper and lower case are the same."""
    citations: bool = True
    """Marks of citations, such as `[12]` and `[edit]`, are cut out of lines."""
