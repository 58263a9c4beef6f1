"""A user's synonyms: a word and its synonyms on each line, separated by commas, as thesauri for machines are commonly spread.

# comments and empty lines are left out
quick,fast,rapid
"""

from __future__ import annotations

import io

from lmpipe.base.errors import SourceError


def parse_synonyms(data: bytes, name: str) -> dict[str, tuple[str, ...]]:
    """Lower-case word to its synonyms, in the order of the file; a word may have several lines.

    Args:
        data: the file's bytes.
        name: for messages.

    Raises:
        SourceError: naming the first line that is not as it should be, or when there is no line at all.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _malformed(name, data[: error.start].count(b"\n") + 1, "bytes that are no UTF-8") from None
    found: dict[str, dict[str, None]] = {}
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        word, *synonyms = (part.strip() for part in line.split(","))
        if not word or not synonyms or not all(synonyms):
            raise _malformed(name, number, "no word, no synonym, or an empty one")
        others = [synonym for synonym in synonyms if synonym.lower() != word.lower()]
        found.setdefault(word.lower(), {}).update(dict.fromkeys(others))
    synonyms_by_word = {word: tuple(synonyms) for word, synonyms in found.items() if synonyms}
    if not synonyms_by_word:
        raise _malformed(name, 1, "no line with a word and a synonym")
    return synonyms_by_word


def _malformed(name: str, line: int, what: str) -> SourceError:
    return SourceError(
        f"the synonyms in '{name}' cannot be used: {what}",
        where=f"{name}, line {line}",
        expected="on each line a word and its synonyms, separated by commas: quick,fast,rapid",
        fix="correct that line",
    )
