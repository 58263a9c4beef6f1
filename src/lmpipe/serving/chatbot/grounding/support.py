"""Whether a generated sentence says things that its sources do not: numbers, addresses, names. Cheap, and no proof of truth.

Finds: digits, words with an @ or a slash, capitalised words inside a sentence. Does not find: a wrong verb, a missing "not",
facts in small letters. A generator that passes can still be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Sequence

SENTENCE_END = re.compile(r"[.!?。](?=\s)\s*|\n+")
_FACT = re.compile(r"\S*[@/]\S+|\d+(?:[.,:]\d+)*|(?<=[\w,;:] )[A-Z][\w'’-]+")
_WORD = re.compile(r"\w+")
_CITED = re.compile(r"\[\d{1,2}\]")


def unsupported(sentence: str, sources: Iterable[str]) -> list[str]:
    """The facts of a sentence that stand in none of its sources.

    >>> unsupported("We open at 9 in Rome.", ["We open at 9."])
    ['Rome']
    """
    known = " ".join(sources).casefold()
    words = set(_WORD.findall(known))
    found = [match[0].rstrip(".,;:!?)") for match in _FACT.finditer(_CITED.sub("", sentence))]
    return [fact for fact in found if fact != "I" and fact.casefold() not in (words if _WORD.fullmatch(fact) else known)]


def supported_sentences(pieces: Iterable[str], sources: Sequence[str]) -> Generator[str, None, bool]:
    """Whole sentences of a stream as they are complete, up to the first that has an unsupported fact. Nothing of that one, and
    nothing after it, is given. Sentences joined are the beginning of the stream.

    Returns:
        Whether every sentence was supported.
    """
    held = ""
    for piece in pieces:
        held += piece
        while (end := SENTENCE_END.search(held)) is not None:
            sentence, held = held[: end.end()], held[end.end() :]
            if unsupported(sentence, sources):
                return False
            yield sentence
    if held and unsupported(held, sources):
        return False
    if held:
        yield held
    return True
