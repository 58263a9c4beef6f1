"""Texts longer than a context: nothing is lost in the pieces, and targets are merged until one is left."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.tokens.long_texts import pieces_within, transform_long
from lmpipe.tokens.sentences import split_sentences

TEXTS = st.lists(st.lists(st.sampled_from(["a", "bird", "sang.", "Who?", "Dr.", "7"]), min_size=1, max_size=9), max_size=9)


def count(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Ada met J. Smith at 3 p.m. in Rome. He left.", ["Dr. Ada met J. Smith at 3 p.m. in Rome.", "He left."]),
        ('"Stop." He ran... Then 5 came.', ['"Stop."', "He ran...", "Then 5 came."]),
        ("See Fig. 2 and e.g. Table 1.\n\na new paragraph", ["See Fig. 2 and e.g. Table 1.", "a new paragraph"]),
        ("", []),
    ],
)
def test_where_sentences_end(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected


@settings(deadline=None)
@given(TEXTS, st.integers(1, 12))
def test_pieces_hold_every_word_and_fit(sentences: list[list[str]], longest: int) -> None:
    text = " ".join(word for sentence in sentences for word in sentence)
    pieces = pieces_within(text, count, longest)
    assert " ".join(pieces).split() == text.split()
    assert all(count(piece) <= longest for piece in pieces)
    if count(text) <= longest:
        assert pieces == [text]


def first_and_last(texts: list[str]) -> list[str]:
    return [" ".join((text.split()[0], text.split()[-1])) for text in texts]


def test_what_becomes_of_a_long_text() -> None:
    text = " ".join(f"N{n} is {n}." for n in range(9))
    assert transform_long([text, "Short one."], first_and_last, count, 6, "cut") == ["N0 8.", "Short one."]
    joined = transform_long([text, "Short one."], first_and_last, count, 6, "join")
    assert joined == ["N0 1. N2 3. N4 5. N6 7. N8 8.", "Short one."]
    assert transform_long([text], first_and_last, count, 6, "reduce") == ["N0 8."]


def test_targets_that_do_not_grow_shorter_end_it() -> None:
    asked = []

    def echo(texts: list[str]) -> list[str]:
        asked.append(len(texts))
        return texts

    text = "A b c. D e f. G h i."
    assert transform_long([text], echo, count, 3, "reduce") == [text]
    assert asked == [3]
