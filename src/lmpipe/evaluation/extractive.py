"""Summaries made of the text's own sentences: lead, TextRank, and the oracle, which knows the references."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from lmpipe.evaluation.bootstrap import Floats
from lmpipe.evaluation.extractive_config import ExtractConfig
from lmpipe.evaluation.overlap import ngrams, words
from lmpipe.tokens.sentences import split_sentences

DAMPING, ITERATIONS, TOLERANCE = 0.85, 100, 1e-8
"""Of PageRank (Brin and Page 1998)."""


def extract(config: ExtractConfig, text: str, references: Sequence[str]) -> str:
    """The summary that a baseline gives of a text.

    Args:
        config: which baseline, and how many sentences.
        text: to be summarised.
        references: seen by the oracle alone.
    """
    sentences = split_sentences(text)
    if config.kind == "lead":
        chosen = list(range(min(config.sentences, len(sentences))))
    elif config.kind == "textrank":
        ranks = text_ranks(sentences)
        chosen = sorted(np.argsort(-ranks, kind="stable")[: config.sentences].tolist())
    else:
        chosen = sorted(_nearest(sentences, references, config.sentences))
    return " ".join(sentences[place] for place in chosen)


def text_ranks(sentences: Sequence[str]) -> Floats:
    """The rank of each sentence: PageRank on a graph whose edges weigh the words that two have in common, over the logarithms
    of their lengths (Mihalcea and Tarau 2004, section 4.1)."""
    bags = [Counter(words(sentence)) for sentence in sentences]
    count = len(sentences)
    weights = np.zeros((count, count))
    for i in range(count):
        for j in range(i):
            shared = sum((bags[i] & bags[j]).values())
            lengths = math.log(max(1, bags[i].total())) + math.log(max(1, bags[j].total()))
            weights[i, j] = weights[j, i] = shared / lengths if lengths > 0 else 0.0
    totals = weights.sum(axis=1, keepdims=True)
    steps = np.divide(weights, totals, out=np.zeros_like(weights), where=totals > 0)
    ranks = np.full(count, 1.0)
    for _ in range(ITERATIONS):
        moved: Floats = (1 - DAMPING) + DAMPING * (steps.T @ ranks)
        if np.abs(moved - ranks).max(initial=0.0) < TOLERANCE:
            return moved
        ranks = moved
    return ranks


def _nearest(sentences: Sequence[str], references: Sequence[str], most: int) -> list[int]:
    """Sentences added one by one while the sum of ROUGE-1 and ROUGE-2 with the best reference grows."""
    best: tuple[float, list[int]] = (-1.0, [])
    for reference in references:
        wanted = [Counter(ngrams(words(reference), order)) for order in (1, 2)]
        have = [[Counter(ngrams(words(sentence), order)) for order in (1, 2)] for sentence in sentences]
        chosen: list[int] = []
        reached = 0.0
        for _ in range(most):
            scores = {
                place: _overlap([sum((have[one][order] for one in (*chosen, place)), Counter()) for order in (0, 1)], wanted)
                for place in range(len(sentences))
                if place not in chosen
            }
            place = max(scores, key=lambda one: (scores[one], -one), default=-1)
            if place < 0 or scores[place] <= reached:
                break
            chosen, reached = [*chosen, place], scores[place]
        best = max(best, (reached, chosen or [0][: len(sentences)]), key=lambda found: found[0])
    return best[1]


def _overlap(have: Sequence[Counter[tuple[str, ...]]], wanted: Sequence[Counter[tuple[str, ...]]]) -> float:
    """The sum over orders of the F1 of shared n-grams."""
    total = 0.0
    for own, true in zip(have, wanted, strict=True):
        shared, size = sum((own & true).values()), own.total() + true.total()
        total += 2 * shared / size if size else 0.0
    return total
