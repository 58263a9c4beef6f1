"""Scores beside a slow, plain reading of the definitions, many texts at once."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.data.filters.batch import Batch
from lmpipe.data.filters.repetition import in_order, repeated_runs, repetition_scores
from lmpipe.data.filters.scores import GopherRepetitionScores

NAMES = list(GopherRepetitionScores.COLUMNS)


def scores(*texts):
    columns = repetition_scores(Batch(texts))
    return [dict(zip(NAMES, row, strict=True)) for row in zip(*columns, strict=True)]


def plainly(text):
    words, characters = text.split(), max(1, len(text))
    found = {}
    for n in (2, 3, 4):
        counts = Counter(" ".join(words[place : place + n]) for place in range(len(words) - n + 1))
        most = max(counts.values(), default=0)
        top = next((gram for gram, count in counts.items() if count == most), "")
        found[f"top_{n}_gram_fraction"] = most * len(top) / characters if most > 1 else 0.0
    for n in range(5, 11):
        seen, repeated, place = set(), 0, 0
        while place <= len(words) - n:
            gram = tuple(words[place : place + n])
            repeated += sum(map(len, gram)) if gram in seen else 0
            place += n if gram in seen else 1
            seen.add(gram)
        found[f"duplicate_{n}_gram_fraction"] = repeated / characters
    return found


PIECES = st.lists(st.sampled_from(["a", "bb", "ccc", "\n", "\n\n", "one two three four five six seven"]), max_size=60)


@settings(deadline=None, max_examples=100)
@given(st.lists(PIECES, min_size=1, max_size=4))
def test_scores_follow_the_definitions_in_any_company(texts):
    texts = [" ".join(pieces) for pieces in texts]
    for text, found in zip(texts, scores(*texts), strict=True):
        for name, value in plainly(text).items():
            assert found[name] == pytest.approx(value), name


def test_lines_and_paragraphs():
    text = "first one\n\nsecond\nlines\n\nfirst one\n\n\nfirst one"
    (found,) = scores(text)
    assert found["duplicate_paragraph_fraction"] == 0.5
    assert found["duplicate_paragraph_character_fraction"] == pytest.approx(18 / len(text))
    assert found["duplicate_line_fraction"] == pytest.approx(2 / 5)
    assert found["duplicate_line_character_fraction"] == pytest.approx(18 / len(text))


def test_empty_and_short_texts_do_not_repeat_themselves():
    for found in scores("", "   ", "word", "two words"):
        assert set(found.values()) == {0.0}


def test_keys_too_large_for_one_number_with_a_place_give_the_same_groups():
    words = np.random.default_rng(1).integers(0, 40, 3000)
    ends = np.array([0, 1000, 1000, 3000])
    spread = np.arange(40) * 60_000_000 + 7  # few words, but numbers of 31 bits

    def places(numbers):
        return [(n, runs.places.tolist(), runs.count.tolist()) for n, runs in repeated_runs(numbers, ends, 4)]

    assert [n for n, *_ in places(words)] == [2, 3, 4]
    order, ordered = in_order(spread[words[:-1]] * 40 + words[1:])
    expected = np.argsort(spread[words[:-1]] * 40 + words[1:], kind="stable")
    assert order.tolist() == expected.tolist()
    huge = (words.astype(np.int64) << 55) + 1
    order, ordered = in_order(huge)
    assert order.tolist() == np.argsort(words, kind="stable").tolist()
    assert ordered.tolist() == sorted(huge.tolist())
