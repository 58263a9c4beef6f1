"""Scores beside a slow, plain reading of the definitions."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.data.filters.repetition import SCORES, repetition_scores


def plainly(text):
    words, characters = text.split(), max(1, len(text))
    scores = {}
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    for name, units in (("line", lines),):
        repeated = [unit for place, unit in enumerate(units) if unit in units[:place]]
        scores[f"duplicate_{name}_fraction"] = len(repeated) / max(1, len(units))
        scores[f"duplicate_{name}_character_fraction"] = sum(map(len, repeated)) / characters
    for n in (2, 3, 4):
        counts = Counter(" ".join(words[place : place + n]) for place in range(len(words) - n + 1))
        most = max(counts.values(), default=0)
        top = next((gram for gram, count in counts.items() if count == most), "")
        scores[f"top_{n}_gram_fraction"] = most * len(top) / characters if most > 1 else 0.0
    for n in range(5, 11):
        seen, covered = set(), set()
        for place in range(len(words) - n + 1):
            gram = tuple(words[place : place + n])
            covered |= set(range(place, place + n)) if gram in seen else set()
            seen.add(gram)
        scores[f"duplicate_{n}_gram_fraction"] = sum(len(words[place]) for place in covered) / characters
    return scores


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(["a", "bb", "ccc", "\n", "\n\n", "one two three four five six seven"]), max_size=60))
def test_scores_follow_the_definitions(pieces):
    text = " ".join(pieces)
    found = dict(zip(SCORES, repetition_scores(text), strict=True))
    for name, value in plainly(text).items():
        assert found[name] == pytest.approx(value), name


def test_paragraphs():
    text = "first one\n\nsecond\nlines\n  \nfirst one\n\n\nfirst one"
    scores = dict(zip(SCORES, repetition_scores(text), strict=True))
    assert scores["duplicate_paragraph_fraction"] == 0.5
    assert scores["duplicate_paragraph_character_fraction"] == pytest.approx(18 / len(text))


def test_empty_and_short_texts_do_not_repeat_themselves():
    for text in ("", "   ", "word", "two words"):
        assert set(repetition_scores(text)) == {0.0}
