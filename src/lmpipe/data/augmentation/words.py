"""Word operations of EDA (Wei and Zou 2019, arXiv 1901.11196) that leave punctuation and white space where they are.

    replace   n words by a synonym            swap     n times two words of the sentence
    insert    n times a synonym of some word  delete   each word with probability `rate`

n is `rate` times the words of the sentence, at least 1. The paper works on single sentences, so longer texts are worked on
sentence by sentence: nothing moves across a full stop or a line's end. A synonym takes over upper and lower case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

Synonyms = Mapping[str, Sequence[str]]
"""Lower-case word to its synonyms."""
WORD = re.compile(r"(\w+(?:['’-]\w+)*)")
BORDER = re.compile(r"[.!?…][\"'”’)]*\s|\n")


def edit_words(text: str, operation: str, rate: float, stream: Random, synonyms: Synonyms) -> str:
    """`text` after one operation on each of its sentences; unchanged where there is nothing to work on.

    Example:
        `edit_words("Good film. Bad end.", "swap", 0.1, Random(1), {})` gives `"film Good. end Bad."`.
    """
    pieces = WORD.split(text)  # gap, word, gap, word, ..., gap
    for sentence in _sentences(pieces):
        times = max(1, int(rate * len(sentence)))
        if operation == "swap":
            _swap(pieces, sentence, times, stream)
        elif operation == "delete":
            _delete(pieces, sentence, rate, stream)
        else:
            _use_synonyms(pieces, sentence, operation, times, stream, synonyms)
    return "".join(pieces)


def _sentences(pieces: Sequence[str]) -> list[list[int]]:
    """Positions of the words of each sentence."""
    sentences: list[list[int]] = [[]]
    for position in range(1, len(pieces), 2):
        if sentences[-1] and BORDER.search(pieces[position - 1]):
            sentences.append([])
        sentences[-1].append(position)
    return sentences if sentences[0] else []


def _swap(pieces: list[str], sentence: Sequence[int], times: int, stream: Random) -> None:
    if len(sentence) < 2:
        return
    for _ in range(times):
        first, second = stream.sample(sentence, 2)
        pieces[first], pieces[second] = pieces[second], pieces[first]


def _delete(pieces: list[str], sentence: Sequence[int], rate: float, stream: Random) -> None:
    """A sentence keeps at least one word. One space beside a word goes with it."""
    gone = [position for position in sentence if stream.random() < rate]
    if len(gone) == len(sentence):
        gone.remove(stream.choice(gone))
    for position in gone:
        pieces[position] = ""
        if pieces[position - 1].endswith(" "):
            pieces[position - 1] = pieces[position - 1][:-1]
        else:
            pieces[position + 1] = pieces[position + 1].removeprefix(" ")


def _use_synonyms(
    pieces: list[str], sentence: Sequence[int], operation: str, times: int, stream: Random, synonyms: Synonyms
) -> None:
    known = [position for position in sentence if pieces[position].lower() in synonyms]
    if not known:
        return
    chosen = stream.sample(known, min(times, len(known)))
    found = {position: stream.choice(synonyms[pieces[position].lower()]) for position in chosen}
    if operation == "replace":
        for position, synonym in found.items():
            pieces[position] = _in_case_of(pieces[position], synonym)
        return
    for synonym in found.values():
        pieces[stream.choice(sentence)] += f" {synonym}"


def _in_case_of(word: str, synonym: str) -> str:
    if len(word) > 1 and word.isupper():
        return synonym.upper()
    return synonym[:1].upper() + synonym[1:] if word[:1].isupper() else synonym
