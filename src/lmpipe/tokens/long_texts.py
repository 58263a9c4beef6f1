"""Texts longer than a model's context: cut into pieces at the ends of sentences, each transformed, what came of them merged.

    long text -> piece, piece, piece -> target, target, target -> joined         (`join`)
                                                     joined ----> again, until it is one piece   (`reduce`)

Knows no model: what transforms texts is handed in. A text that fits is transformed once, whatever is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from lmpipe.tokens.sentences import split_sentences

LongTexts = Literal["cut", "join", "reduce"]
ROUNDS = 8
"""A text is read again at most so often; targets that do not grow shorter end it before."""


def pieces_within(text: str, count: Callable[[str], int], longest: int) -> list[str]:
    """The text in pieces of at most `longest` tokens, as few as follow from filling each in turn with whole sentences.

    A sentence that is longer by itself is cut between words; a word that is, stands alone.
    """
    if count(text) <= longest:
        return [text]
    pieces: list[str] = []
    filling = ""
    for part in split_sentences(text):
        for unit in [part] if count(part) <= longest else part.split():
            joined = f"{filling} {unit}" if filling else unit
            if filling and count(joined) > longest:
                pieces.append(filling)
                joined = unit
            filling = joined
    return [*pieces, filling] if filling else pieces or [text]


def transform_long(
    texts: Sequence[str],
    transform: Callable[[list[str]], list[str]],
    count: Callable[[str], int],
    longest: int,
    how: LongTexts,
) -> list[str]:
    """The target of each text.

    Args:
        texts: of any length.
        transform: texts to their targets; what does not fit it cuts off.
        count: tokens of a text as the model reads it.
        longest: tokens that it can read.
        how: `cut`: only the beginning of a long text is read; `join`: targets of its pieces one after the other; `reduce`:
            these are read as a text again, until one target is left.
    """
    if how == "cut":
        return transform(list(texts))
    pieces = [pieces_within(text, count, longest) for text in texts]
    written = iter(transform([piece for of_text in pieces for piece in of_text]))
    found = [" ".join(filter(None, (next(written) for _ in of_text))) for of_text in pieces]
    waiting = [number for number, of_text in enumerate(pieces) if len(of_text) > 1]
    before = list(texts)
    for _ in range(ROUNDS if how == "reduce" else 0):
        waiting = [number for number in waiting if count(found[number]) < count(before[number])]
        if not waiting:
            break
        before = list(found)
        again = {number: pieces_within(found[number], count, longest) for number in waiting}
        written = iter(transform([piece for of_text in again.values() for piece in of_text]))
        for number, of_text in again.items():
            found[number] = " ".join(filter(None, (next(written) for _ in of_text)))
        waiting = [number for number in waiting if len(again[number]) > 1]
    return found
