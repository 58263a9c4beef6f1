import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmpipe.base.errors import ModelError
from lmpipe.tokens.pieces import pieces_of
from lmpipe.tokens.special import SPECIAL_TOKENS
from lmpipe.tokens.spelling import byte_alphabet
from lmpipe.tokens.streaming import StreamDecoder
from lmpipe.tokens.tokenizer import load_tokenizer, vocabulary_size

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
# Text near the borders that cutting looks for: words, runs of white space of several kinds, contractions, digits.
SPACED = st.lists(
    st.sampled_from(["don't", "x", "Ω", "12", "_", "!", " ", "  ", "\n", "\t", "\u00a0", "\x1c", "é"]), max_size=40
)


@settings(deadline=None, max_examples=200)
@given(TEXT)
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(deadline=None, max_examples=100)
@given(TEXT, st.sampled_from(SPECIAL_TOKENS), TEXT)
def test_a_control_tokens_string_in_a_text_is_only_text(tokenizer, before, special, after):
    ids = tokenizer.encode(before + special + after)
    assert not set(ids) & set(tokenizer.special_ids.values())
    assert tokenizer.decode(ids) == before + special + after


@settings(deadline=None, max_examples=100)
@given(st.lists(TEXT, max_size=5))
def test_a_batch_gives_what_each_text_gives(tokenizer, texts):
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


@settings(deadline=None, max_examples=200)
@given(SPACED.map("".join), st.integers(1, 6))
def test_pieces_join_to_the_text_and_their_ids_to_its_ids(tokenizer, text, limit):
    pieces = pieces_of(text, limit)
    assert "".join(pieces) == text
    # A piece of 2 * limit characters may be a cut through a stretch without a border, where ids may differ.
    if all(len(piece) < 2 * limit for piece in pieces[:-1]):
        assert [i for ids in tokenizer.encode_pieces(pieces) for i in ids] == tokenizer.encode(text)


def test_a_stretch_without_any_border_is_cut_all_the_same():
    assert [len(piece) for piece in pieces_of("a" * 95, 10)] == [20, 20, 20, 20, 15]


@settings(deadline=None, max_examples=100)
@given(TEXT)
def test_a_stream_gives_the_text_and_never_half_a_character(tokenizer, text):
    stream = StreamDecoder(tokenizer)
    shown = [stream.push(token) for token in tokenizer.encode(text)]
    assert "".join(shown) == text
    assert stream.finish() == ""


def test_a_stream_that_ends_in_a_character_says_so(tokenizer):
    first_byte = next(i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i) == b"\xe2")
    stream = StreamDecoder(tokenizer)
    assert stream.push(first_byte) == ""
    assert stream.finish() == "\ufffd"


def test_control_tokens_have_no_text(tokenizer):
    ids = [tokenizer.end_of_text_id, *tokenizer.encode("a"), tokenizer.pad_id]
    assert tokenizer.decode(ids) == "a"


def test_a_prompt_opens_a_document(tokenizer):
    assert tokenizer.encode_prompt("def") == [tokenizer.end_of_text_id, *tokenizer.encode("def")]


def test_every_byte_is_in_the_vocabulary(tokenizer):
    single = {tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)}
    assert {bytes([b]) for b in range(256)} <= single
    assert sorted(byte_alphabet().values()) == list(range(256))


def test_the_size_can_be_told_without_the_library(tokenizer, tokenizer_folder):
    assert vocabulary_size(tokenizer_folder) == tokenizer.vocab_size == 1024


def test_half_a_surrogate_pair_is_refused(tokenizer):
    with pytest.raises(ModelError, match=r"U\+D800"):
        tokenizer.encode("abc \ud800")


def test_an_id_outside_the_vocabulary_is_refused(tokenizer):
    with pytest.raises(ModelError, match="1024"):
        tokenizer.decode([1024])


@pytest.mark.parametrize("content", ["", "{", "{}", '{"model": {"type": "Unheard"}}'])
def test_a_damaged_tokenizer_is_one_clear_error(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match="cannot be read"):
        load_tokenizer(tmp_path)


def test_a_missing_tokenizer_is_one_clear_error(tmp_path):
    with pytest.raises(ModelError, match="no tokenizer"):
        load_tokenizer(tmp_path)
