"""Where words begin, told from ids alone: what whole-word masking needs to know of a tokenizer.

    the | re | lic | s | , | Ġ old        a token goes on with the word before it where no space stands between them and both
    ^                    ^    ^           are letters, digits or signs; in a WordPiece vocabulary, where it is written ##s

Words are those of GPT-2's splitting pattern, so a sign after a word is one of its own. Knows no library.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmpipe.base.errors import ModelError
from lmpipe.tokens.tokenizer import Tokenizer

BORDER, LETTERS, DIGITS, SIGNS, GOES_ON, SPACE = range(6)
"""What a token begins or ends with: white space (and control tokens), one of three kinds of characters, the mark of a piece
that always goes on, or (at its end) the space before a word that the next token brings."""


class WordBorders(NamedTuple):
    """By id, what a token begins and ends with; each of shape (V,)."""

    first_V: NDArray[np.uint8]
    last_V: NDArray[np.uint8]

    def starts(self, ids_BT: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each token begins a word; the first of a row does, and so does what follows a control token."""
        first_BT, last_BT = self.first_V[ids_BT], self.last_V[ids_BT]
        before_BT = np.concatenate([np.full_like(last_BT[:, :1], BORDER), last_BT[:, :-1]], axis=1)
        goes_on = (first_BT == GOES_ON) | (((first_BT == before_BT) | (before_BT == SPACE)) & (first_BT != BORDER))
        starts: NDArray[np.bool_] = ~goes_on | (before_BT == BORDER)
        return starts


def word_borders(tokenizer: Tokenizer) -> WordBorders:
    """The borders of a tokenizer's words.

    Raises:
        ModelError: when only the library knows what a token spells.
    """
    spelling = tokenizer.spelling
    if spelling.table is None:
        raise ModelError(
            "the tokenizer does not say where words begin, so whole words cannot be hidden",
            expected="a byte-level, SentencePiece-like or WordPiece tokenizer",
            fix="leave out objective.whole_words",
        )
    first, last = np.zeros(tokenizer.vocab_size, np.uint8), np.zeros(tokenizer.vocab_size, np.uint8)
    for number, spelled in enumerate(spelling.table):
        if not spelled:
            continue
        text = spelled.decode("utf-8", "replace")
        first[number], last[number] = _kind(text[0]), SPACE if text[-1] == " " else _kind(text[-1])
        if spelling.kind == "words":
            first[number] = BORDER if text[0] == " " else GOES_ON
    return WordBorders(first, last)


def _kind(character: str) -> int:
    """Of a character; a part of one counts as a letter, which in text it mostly is.

    >>> _kind(" "), _kind("a"), _kind("7"), _kind("!")
    (0, 1, 2, 3)
    """
    if character.isspace():
        return BORDER
    category = unicodedata.category(character)[0]
    if category == "L" or character == "\ufffd":
        return LETTERS
    return DIGITS if category == "N" else SIGNS
