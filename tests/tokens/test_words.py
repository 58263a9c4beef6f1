import argparse
import inspect
import json

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.words import SETTLED, WordEncoder, splits_like_gpt2

# What the splitting pattern tells apart, side by side as often as possible.
PIECES = [
    "'s",
    "'S",
    "'ll",
    "''",
    "a",
    "Zß",
    "é",
    "Ж",
    "1",
    "½",
    "²",
    "_",
    "!",
    "—",
    " ",
    "  ",
    "\n",
    "\t",
    "\xa0",
    "\u2009",
    "\x1c",
    "\x85",
]


@pytest.fixture(scope="module")
def words(tokenizer):
    return WordEncoder(tokenizer.library)


def by_library(words, texts):
    return [encoding.ids for encoding in words.library.encode_batch_fast(texts, add_special_tokens=False)]


@pytest.mark.parametrize("pattern", ["{0}", "a{0}b", " {0} ", "1{0}2", "\n{0}{0}!", "'{0}s", "  {0}", "{0}\n x"])
def test_every_settled_character_is_encoded_as_by_the_library(words, pattern):
    texts = [pattern.format(character) for character in SETTLED]
    assert [words.encode(text) for text in texts] == by_library(words, texts)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_mixtures_are_encoded_as_by_the_library(words, text):
    assert words.encode(text) == by_library(words, [text])[0]


def test_real_text_is_encoded_as_by_the_library(words):
    text = inspect.getsource(argparse)
    assert words.encode(text) == by_library(words, [text])[0]


@pytest.mark.parametrize("character", ["東", "🎉", "\u0301", "\u0378", "\ud800", "\U0001f9ff"])
def test_other_characters_are_left_to_the_library(words, character):
    assert words.encode(f"a {character} b") is None


def test_forgetting_changes_nothing(tokenizer, monkeypatch):
    monkeypatch.setattr("lmpipe.tokens.words.REMEMBERED_CHARACTERS", 20)
    forgetful = WordEncoder(tokenizer.library)
    texts = [f"word{i} and word{i + 1}" for i in range(20)] * 2
    assert [forgetful.encode(text) for text in texts] == by_library(forgetful, texts)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("normalizer", {"type": "NFC"}),
        ("pre_tokenizer", None),
        ("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}),
        ("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}),
    ],
)
def test_other_tokenizers_are_left_to_the_library(tmp_path, tokenizer_folder, key, value):
    content = json.loads((tokenizer_folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert splits_like_gpt2(tokenizers.Tokenizer.from_str(json.dumps(content)))
    content[key] = value
    assert not splits_like_gpt2(tokenizers.Tokenizer.from_str(json.dumps(content)))
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("e\u0301 b") == tokenizer.library.encode("e\u0301 b", add_special_tokens=False).ids
    assert tokenizer.encode("a b") == tokenizer.library.encode("a b", add_special_tokens=False).ids
