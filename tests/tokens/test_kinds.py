"""Every kind of tokenizer that a recipe may ask for."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.progress import Silent
from lmpipe.tokens.chat import CHAT_TEMPLATE, render
from lmpipe.tokens.config import TokenizerConfig
from lmpipe.tokens.special import SPECIAL_TOKENS
from lmpipe.tokens.streaming import StreamDecoder
from lmpipe.tokens.tokenizer import load_tokenizer, vocabulary_size
from lmpipe.tokens.training import train_on_texts

transformers = pytest.importorskip("transformers", reason="the folders are read by Transformers, too")

KINDS = ["bpe", "unigram", "wordpiece", "byte", "character", "word"]
BACK = ["bpe", "unigram", "byte", "character"]
"""Kinds from which any text comes back."""
UNKNOWN = ["wordpiece", "word"]
TEXTS = [f"The old cat number {i} sees {'a red' if i % 3 else 'the blue'} dog, don't worry: naïve café.\n" for i in range(300)]
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    st.lists(st.sampled_from(["The", "old", " ", "cat,", "\n", "don't", "café", "12", "<|end|>", "<0x41>", "▁"])).map("".join),
)


def config_of(kind, **changes):
    sized = {} if kind == "byte" else {"vocab_size": 400, "train_on": "corpus"}
    return TypeAdapter(TokenizerConfig).validate_python({"kind": kind, **sized, **changes})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for kind in KINDS:
        made[kind] = tmp_path_factory.mktemp(kind)
        train_on_texts(TEXTS, config_of(kind, sentinels=3), made[kind], progress=Silent())
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_control_tokens_stand_first_and_sentinels_last(folders, kind):
    tokenizer = load_tokenizer(folders[kind])
    assert [tokenizer.special_ids[token] for token in SPECIAL_TOKENS] == list(range(6))
    size = tokenizer.vocab_size
    assert size == vocabulary_size(folders[kind]) <= 400
    assert tokenizer.roles.sentinel_ids == (size - 1, size - 2, size - 3)
    assert tokenizer.unknown_id == (6 if kind in UNKNOWN else None)
    assert json.loads((folders[kind] / "tokenizer_training.json").read_text())["vocab_size"] == size


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_it_as_it_is(folders, kind):
    ours, theirs = load_tokenizer(folders[kind]), transformers.AutoTokenizer.from_pretrained(folders[kind])
    for text in [*TEXTS[:5], "naïve  東京\n\n", "a <|end|> b", ""]:
        ids = ours.encode(text)
        assert theirs(text, split_special_tokens=True)["input_ids"] == ids
        assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)
    assert len(theirs) == ours.vocab_size
    assert (theirs.eos_token_id, theirs.pad_token_id, theirs.unk_token_id) == (0, 1, ours.unknown_id)


@pytest.mark.parametrize("kind", BACK)
@settings(deadline=None, max_examples=100)
@given(text=TEXT)
def test_any_text_comes_back(folders, kind, text):
    tokenizer = load_tokenizer(folders[kind])
    ids = tokenizer.encode(text)
    assert not tokenizer.control_ids & set(ids)
    assert tokenizer.decode(ids) == text
    stream = StreamDecoder(tokenizer)
    assert "".join([*map(stream.push, ids), stream.finish()]) == text


def test_words_come_back_where_they_are_known(folders):
    words, pieces = load_tokenizer(folders["word"]), load_tokenizer(folders["wordpiece"])
    known = "The old cat sees the blue dog, don't worry.\n"
    assert words.decode(words.encode(known)) == known
    assert words.encode(" zebra") == [words.unknown_id]
    assert pieces.decode(pieces.encode("the dog")) == "the dog"
    assert pieces.encode("東") == [pieces.unknown_id]


def test_lower_case_is_asked_for(tmp_path):
    train_on_texts(TEXTS, config_of("wordpiece", lowercase=True), tmp_path, progress=Silent())
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.decode(tokenizer.encode("THE CAFÉ")) == "the cafe"


def test_sizes_and_frequencies_are_kept(tmp_path):
    """What each number of a config does."""
    sizes = {}
    for name, config in {
        "all": config_of("word", min_frequency=1, vocab_size=5000),
        "frequent": config_of("word", min_frequency=50, vocab_size=5000),
        "few": config_of("word", vocab_size=12),
        "short": config_of("unigram", vocab_size=330, max_piece_length=3),
    }.items():
        (tmp_path / name).mkdir()
        sizes[name] = train_on_texts(TEXTS, config, tmp_path / name, progress=Silent()).vocab_size
    assert sizes["all"] > sizes["frequent"] > sizes["few"] == 12
    short = load_tokenizer(tmp_path / "short")
    assert max(len(short.token_bytes(token)) for token in range(short.vocab_size)) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_conversations_can_be_rendered(folders, kind):
    tokenizer = load_tokenizer(folders[kind])
    ids = render([{"role": "user", "content": "The cat"}], tokenizer, chat_template=CHAT_TEMPLATE)
    s = tokenizer.special_ids
    opened = [s["<|endoftext|>"], s["<|user|>"], *tokenizer.encode("The cat"), s["<|end|>"], s["<|assistant|>"]]
    assert ids == opened


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece", "character", "word"])
def test_a_vocabulary_without_room_is_refused(kind):
    with pytest.raises(ValidationError, match="too small"):
        config_of(kind, vocab_size=269, sentinels=265)


SCRIPT = """
import sys
from pathlib import Path
from pydantic import TypeAdapter
from lmpipe.base.progress import Silent
from lmpipe.tokens.config import TokenizerConfig
from lmpipe.tokens.training import train_tokenizer
kind, documents, output, threads = sys.argv[1:]
written = {"kind": kind, "vocab_size": 500, "train_on": "c"}
config = TypeAdapter(TokenizerConfig).validate_python(written)
train_tokenizer(Path(documents), config, Path(output), progress=Silent(), threads=int(threads))
"""


@pytest.mark.parametrize("kind", ["unigram", "wordpiece", "character", "word"])
def test_bytes_do_not_depend_on_threads_or_on_the_run(tmp_path, write_parts, kind):
    texts = [f"q{i:04d}z bb{i % 7} cc {'xyzzy' * (i % 3)} " * 2 for i in range(400)]  # many ties
    documents = write_parts(tmp_path / "documents", texts)
    digests = []
    for run, threads in enumerate([1, 4]):
        output = tmp_path / f"out{run}"
        output.mkdir()
        subprocess.run([sys.executable, "-c", SCRIPT, kind, str(documents), str(output), str(threads)], check=True)
        digests.append(digests_of_folder(output))
    assert all(digest == digests[0] for digest in digests)
