"""What a generated text shares with a reference or a source, as sums for one text: whole test sets add them up.

Words are runs of letters, digits and underscores, lower-cased; characters are Unicode code points.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from lmpipe.evaluation.bootstrap import Floats
from lmpipe.evaluation.weighting import ratio

_WORD = re.compile(r"\w+")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"[^\W\d_][\w'’-]*")
_SENTENCE_START = re.compile(r"(?:^|[.!?:;\n]['\"”’)]*\s*['\"“‘(]*)$")

CHRF_ORDER = 6
"""Popovic 2015: character n-grams of one to six."""
CHRF_BETA = 2
"""Popovic 2017 (chrF2): recall counts twice as much as precision; sacreBLEU's default, too."""


def words(text: str) -> list[str]:
    """The words of a text.

    >>> words("It's 3 p.m.")
    ['it', 's', '3', 'p', 'm']
    """
    return _WORD.findall(text.lower())


def ngrams(items: Sequence[str], order: int) -> list[tuple[str, ...]]:
    """All n-grams in their order."""
    return list(zip(*(items[start:] for start in range(order)), strict=False))


def squad_normalised(text: str) -> str:
    """Lower-cased, without ASCII punctuation, English articles and extra spaces (the script of Rajpurkar et al. 2016).

    >>> squad_normalised("The  cat's hat!")
    'cats hat'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split())


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 where the normalised texts are equal for some reference."""
    return float(any(squad_normalised(prediction) == squad_normalised(reference) for reference in references))


def token_f1(prediction: str, references: Sequence[str]) -> float:
    """The best F1 of shared normalised words over the references; texts without any word agree only with each other."""
    return max(_token_f1(squad_normalised(prediction).split(), squad_normalised(r).split()) for r in references)


def _token_f1(predicted: list[str], true: list[str]) -> float:
    if not predicted or not true:
        return float(predicted == true)
    shared = sum((Counter(predicted) & Counter(true)).values())
    return 2 * shared / (len(predicted) + len(true))


def chrf_counts(prediction: str, references: Sequence[str]) -> list[int]:
    """For each order: character n-grams of the prediction, of the reference, and shared; of the reference that scores best."""
    hypothesis = list(_character_ngrams(prediction))
    best: list[int] = []
    best_score = -1.0
    for reference in references:
        counts = []
        for predicted, true in zip(hypothesis, _character_ngrams(reference), strict=True):
            shared = sum((predicted & true).values())
            counts += [sum(predicted.values()) if true else 0, sum(true.values()), shared]
        score = float(chrf_score(np.array([counts], dtype=np.float64))[0])
        if score > best_score:
            best, best_score = counts, score
    return best


def _character_ngrams(text: str) -> Iterator[Counter[str]]:
    characters = "".join(text.split())
    for order in range(1, CHRF_ORDER + 1):
        yield Counter(characters[start : start + order] for start in range(len(characters) - order + 1))


def chrf_score(totals_RK: Floats) -> Floats:
    """chrF2, 0 to 100, of sums of `chrf_counts`: precision and recall averaged over the orders that both sides have."""
    predicted, true, shared = (totals_RK[:, part::3] for part in range(3))
    present = (predicted > 0) & (true > 0)
    orders = present.sum(axis=1).astype(np.float64)
    precision = ratio((ratio(shared, predicted, undefined=0.0) * present).sum(axis=1), orders, undefined=0.0)
    recall = ratio((ratio(shared, true, undefined=0.0) * present).sum(axis=1), orders, undefined=0.0)
    squared = CHRF_BETA**2
    return 100 * ratio((1 + squared) * precision * recall, squared * precision + recall, undefined=0.0)


def new_ngrams(prediction: str, source: str, order: int) -> tuple[int, int]:
    """How many n-grams of the prediction are not in the source, and how many it has (See et al. 2017, figure 6)."""
    known = set(ngrams(words(source), order))
    own = ngrams(words(prediction), order)
    return sum(gram not in known for gram in own), len(own)


def repeated_ngrams(prediction: str, order: int) -> tuple[int, int]:
    """How many n-grams of the prediction stood in it before, and how many it has (Welleck et al. 2020, rep-n)."""
    own = ngrams(words(prediction), order)
    return len(own) - len(set(own)), len(own)


def facts(text: str) -> Counter[str]:
    """Numbers, and words with a capital that do not open a sentence: what a summary may not make up.

    >>> sorted(facts("In May 2019, Ada Lovelace met 1,250 people."))
    ['1250', '2019', 'Ada', 'Lovelace', 'May']
    """
    found: Counter[str] = Counter(match.group().replace(",", "") for match in _NUMBER.finditer(text))
    for match in _NAME.finditer(text):
        word = match.group()
        if word[0].isupper() and not _SENTENCE_START.search(text, 0, match.start()):
            found[word.removesuffix("'s").removesuffix("’s")] += 1
    return found


def unsupported_facts(prediction: str, source: str) -> tuple[int, int]:
    """How many facts of the prediction the source does not have, and how many it has.

    A number is looked for among the source's numbers, a name among all its words, whatever their case.
    """
    known = set(facts(source)) | {word.group().removesuffix("'s").removesuffix("’s").lower() for word in _NAME.finditer(source)}
    own = facts(prediction)
    missing = sum(count for fact, count in own.items() if fact not in known and fact.lower() not in known)
    return missing, sum(own.values())
