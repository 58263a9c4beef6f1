import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from lmpipe.base.canonical import digests_of_folder
from lmpipe.base.errors import DamagedError, SourceError
from lmpipe.base.progress import Silent
from lmpipe.tokens.config import BpeConfig
from lmpipe.tokens.tokenizer import load_tokenizer
from lmpipe.tokens.training import sample, train_on_texts, train_tokenizer

# Many pairs of equal frequency: ties are where an order of threads or of a hash table would show.
TIES = [f"q{i:04d}z bb{i % 7} cc " * 2 for i in range(400)]

SCRIPT = """
import sys
from pathlib import Path
from lmpipe.base.progress import Silent
from lmpipe.tokens.training import train_tokenizer
from lmpipe.tokens.config import BpeConfig
config = BpeConfig(vocab_size=600, train_on="corpus")
train_tokenizer(Path(sys.argv[1]), config, Path(sys.argv[2]), progress=Silent(), threads=int(sys.argv[3]))
"""


def test_bytes_do_not_depend_on_threads_or_on_the_run(tmp_path, write_parts):
    documents = write_parts(tmp_path / "documents", TIES)
    digests = []
    for run, threads in enumerate([1, 4, 4]):
        output = tmp_path / f"out{run}"
        output.mkdir()
        subprocess.run([sys.executable, "-c", SCRIPT, str(documents), str(output), str(threads)], check=True)
        digests.append(digests_of_folder(output))
    assert set(digests[0]) >= {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert all(digest == digests[0] for digest in digests)


def test_a_small_corpus_gives_a_smaller_vocabulary_and_says_so(tmp_path, notes):
    result = train_on_texts(["ab ab ab cd cd"], BpeConfig(vocab_size=5000, train_on="corpus"), tmp_path, progress=notes)
    assert result.vocab_size == load_tokenizer(tmp_path).vocab_size < 5000
    assert any("5,000" in note and f"{result.vocab_size}" in note for note in notes.notes)
    assert json.loads((tmp_path / "tokenizer_training.json").read_text())["vocab_size"] == result.vocab_size


def test_min_frequency_keeps_rare_pairs_apart(tmp_path):
    result = train_on_texts(["xy xy"], BpeConfig(vocab_size=300, train_on="c", min_frequency=3), tmp_path, progress=Silent())
    assert result.vocab_size == 262


@pytest.mark.parametrize("size", [0, 10, 261])
def test_a_vocabulary_without_room_for_every_byte_is_refused(size):
    with pytest.raises(ValidationError, match="at least 262"):
        BpeConfig(vocab_size=size, train_on="corpus")


def test_the_smallest_vocabulary_is_lossless(tmp_path):
    train_on_texts(["abc"], BpeConfig(vocab_size=262, train_on="corpus"), tmp_path, progress=Silent())
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.vocab_size == 262
    assert tokenizer.decode(tokenizer.encode("naïve\x00🎉")) == "naïve\x00🎉"


def test_no_text_is_one_clear_error(tmp_path, write_parts):
    documents = write_parts(tmp_path / "documents", ["", ""])
    with pytest.raises(SourceError, match="no text"):
        train_tokenizer(documents, BpeConfig(vocab_size=300, train_on="c"), tmp_path, progress=Silent(), threads=1)


def test_damaged_documents_are_one_clear_error(tmp_path, write_parts):
    documents = write_parts(tmp_path / "documents", TIES)
    part = documents / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(DamagedError, match="cannot be read"):
        train_tokenizer(documents, BpeConfig(vocab_size=300, train_on="c"), tmp_path, progress=Silent(), threads=1)


def test_a_large_corpus_is_sampled_evenly(tmp_path, write_parts, notes):
    texts = [chr(ord("a") + i % 26) * 10_000 for i in range(300)]  # 3 MB; the config's smallest limit is 1 MB
    documents = write_parts(tmp_path / "documents", texts)
    config = BpeConfig(vocab_size=300, train_on="c", max_training_bytes=1_000_000)
    result = train_tokenizer(documents, config, tmp_path, progress=notes, threads=1)
    assert result.corpus_bytes == 3_000_000
    assert 990_000 <= result.training_bytes <= 1_000_000
    assert any("sample" in note for note in notes.notes)


def test_a_stretch_without_white_space_does_not_stop_training(tmp_path):
    texts = ["before ", "abcdefghij" * 100_000, " after"]
    result = train_on_texts(texts, BpeConfig(vocab_size=300, train_on="c"), tmp_path, progress=Silent())
    assert result.training_bytes == 1_000_013
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.decode(tokenizer.encode(texts[1])) == texts[1]


def test_a_sample_takes_from_everywhere():
    texts = [str(i) for i in range(1000)]
    taken = [int(text) for text in sample(texts, 0.1)]
    assert len(taken) == 100
    assert all(sum(low <= i < low + 100 for i in taken) == 10 for low in range(0, 1000, 100))
