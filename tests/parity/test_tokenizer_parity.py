"""The folder that we write, read by Transformers."""

import argparse
import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.progress import Silent
from lmpipe.tokens.chat import CHAT_TEMPLATE, render, render_text
from lmpipe.tokens.config import BpeConfig
from lmpipe.tokens.special import SPECIAL_TOKENS
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.training import train_on_texts

transformers = pytest.importorskip("transformers", reason="parity needs the extra [hub]")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
DIALOG = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "  What is naïve? "},
    {"role": "assistant", "content": "Nothing.\n"},
    {"role": "user", "content": "Why?"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_on_texts([inspect.getsource(argparse)], BpeConfig(vocab_size=800, train_on="corpus"), folder, progress=Silent())
    return folder


@pytest.fixture(scope="module")
def theirs(folder):
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def ours(folder):
    return load_tokenizer(folder)


@settings(deadline=None, max_examples=200)
@given(TEXT)
def test_ids_and_text_are_the_same(ours, theirs, text):
    ids = ours.encode(text)
    if not any(special in text for special in SPECIAL_TOKENS):
        assert theirs(text)["input_ids"] == ids
    assert theirs(text, split_special_tokens=True)["input_ids"] == ids
    assert theirs.decode(ids) == ours.decode(ids) == text


@pytest.mark.parametrize("special", SPECIAL_TOKENS)
def test_control_tokens_as_text(ours, theirs, special):
    text = f"a {special} b"
    assert theirs(text, split_special_tokens=True)["input_ids"] == ours.encode(text)
    assert theirs.convert_tokens_to_ids(special) == ours.special_ids[special]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(6, 799), max_size=12))
def test_broken_characters_are_shown_the_same_way(ours, theirs, ids):
    assert theirs.decode(ids) == ours.decode(ids)


def test_named_ids(ours, theirs):
    assert (theirs.eos_token_id, theirs.bos_token_id, theirs.pad_token_id) == (ours.end_of_text_id,) * 2 + (ours.pad_id,)
    assert len(theirs) == ours.vocab_size


@pytest.mark.parametrize("template", ["", CHAT_TEMPLATE])
@pytest.mark.parametrize("messages", [DIALOG[1:2], DIALOG])
def test_a_conversation_has_the_same_ids(folder, theirs, template, messages):
    ours = load_tokenizer(folder)
    ours.chat_template = template or ours.chat_template
    arguments = {"add_generation_prompt": True, "chat_template": ours.chat_template}
    assert theirs.apply_chat_template(messages, tokenize=False, **arguments) == render_text(messages, ours.chat_template)
    ids = theirs.apply_chat_template(messages, tokenize=True, return_dict=False, **arguments)
    assert ids == render(messages, ours)
